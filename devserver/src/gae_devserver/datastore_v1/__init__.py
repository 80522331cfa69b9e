"""google.datastore.v1.Datastore over gRPC, for Cloud NDB, on the bundled API's store.

A request goes through `server` (gRPC, status codes, the short calls), is checked and
translated by `keys`, `entity_reader`, `entity_writer`, `queries` and `results`, and
carried out by `run_query`, `aggregation` and `commit`. `databases` and `transactions`
hold what lasts longer.
"""

from devserver.datastore_v1.server import DatastoreV1

__all__ = ["DatastoreV1"]
