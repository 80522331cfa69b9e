"""Keeps entities and tasks in a file, for --storage. Imports no other folder."""
