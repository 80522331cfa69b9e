"""What noxfile.py and its sessions run."""
