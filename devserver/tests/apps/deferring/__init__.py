"""An app that defers functions."""
