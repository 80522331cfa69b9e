"""What app.yaml and queue.yaml say. Imports no other folder."""
