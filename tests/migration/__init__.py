"""From bundled NDB to Cloud NDB and back, while tasks wait: see docs/cloud-ndb.md."""
