"""Pages on entities, and the typed form in which they are edited."""
