"""Runs an App Engine app on this machine: ``gae-devserver APP``."""
