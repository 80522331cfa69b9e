"""Reads app.yaml and queue.yaml. Imports no other folder."""
