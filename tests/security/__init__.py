"""What must fail when it comes from outside."""
