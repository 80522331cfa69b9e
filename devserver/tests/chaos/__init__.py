"""Faults, kills and restarts: no task is lost."""
