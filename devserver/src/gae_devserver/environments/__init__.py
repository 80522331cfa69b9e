"""The app's environment: found, made, kept. May import app, config and terminal."""
