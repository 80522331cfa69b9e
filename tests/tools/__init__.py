"""Tests of the sessions' tools that need no session."""
