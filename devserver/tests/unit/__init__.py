"""The dev server, module by module."""
