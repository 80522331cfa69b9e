"""What the three apps share. No module here imports a web framework."""
