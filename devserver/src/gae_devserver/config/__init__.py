"""Reads app.yaml, what it includes, and queue.yaml. Imports no other folder."""
