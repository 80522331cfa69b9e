"""Random inputs: no crash, no hang, no traceback in an answer."""
