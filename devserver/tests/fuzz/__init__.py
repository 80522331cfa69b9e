"""Inputs that nobody would write: no crash, no hang, no traceback in an answer."""
