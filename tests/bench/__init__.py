"""What `nox -s bench` runs: figures for people, never a test."""
