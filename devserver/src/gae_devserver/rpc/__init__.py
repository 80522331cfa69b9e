"""Serves RPCs on a port, whatever the API. Imports http, app, storage."""
