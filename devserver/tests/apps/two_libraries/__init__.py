"""An app that uses both NDB libraries."""
