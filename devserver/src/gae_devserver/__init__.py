"""An embedded dev server for App Engine apps: ``python -m devserver APP_FOLDER``."""
