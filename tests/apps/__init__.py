"""The apps alone on gunicorn, and `shared` on the SDK's stubs."""
