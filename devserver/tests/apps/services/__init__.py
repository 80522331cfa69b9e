"""An app with three services, each with a framework of its own."""
