"""The command line, and what pyproject.toml and the environment add to it."""
