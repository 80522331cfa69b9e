"""What app.yaml and queue.yaml say, and cannot say. Imports no other folder."""
