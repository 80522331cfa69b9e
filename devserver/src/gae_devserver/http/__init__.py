"""Incoming requests: limits, the public port, headers, files. Imports app, config."""
