"""Change COUNTER_NDB while tasks wait: what docs/cloud-ndb.md walks through."""
