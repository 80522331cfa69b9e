"""Tests of what the sessions run that need no session."""
