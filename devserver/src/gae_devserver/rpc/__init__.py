"""Serves RPCs on a gRPC port, whatever the API. Imports app, storage."""
