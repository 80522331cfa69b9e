"""What arrives: limits, the public port, headers, files. Imports app, config."""
