"""Programs that use a server, each in a process of its own; they import no tests."""
