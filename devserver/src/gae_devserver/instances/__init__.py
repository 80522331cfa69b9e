"""The life of an instance with manual or basic scaling. Imports http, app, config."""
