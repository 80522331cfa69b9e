"""noxfile.py as a user meets it: setting up nox, and what its sessions do."""
