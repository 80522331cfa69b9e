"""An app that takes uploads, and serves them."""
