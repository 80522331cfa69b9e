"""Apps that print, log and raise."""
