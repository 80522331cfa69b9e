"""What the app's Python runs at its start; imports nothing of the dev server."""
