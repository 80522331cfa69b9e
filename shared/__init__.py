"""What the three apps share; nothing in here imports a web framework."""
