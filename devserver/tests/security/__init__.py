"""What the outside must not reach."""
