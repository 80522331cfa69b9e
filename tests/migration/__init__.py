"""Change the NDB library while tasks wait: what docs/cloud-ndb.md walks through."""
