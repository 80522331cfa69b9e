"""The apps alone: under plain gunicorn, and shared with the SDK's testbed."""
