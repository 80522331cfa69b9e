"""What starts the server, or the process of an app."""
