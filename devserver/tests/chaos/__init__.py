"""Kills and restarts: no task is lost."""
