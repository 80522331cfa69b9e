"""What a user can do about a broken app. May import config, and the app's Python."""
