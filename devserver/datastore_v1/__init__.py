"""google.datastore.v1.Datastore over gRPC, for Cloud NDB, on the bundled API's store.

A request goes through `server` (gRPC, status codes), is checked and translated by
`keys`, `entities` and `queries`, and carried out by `lookup`, `run_query`,
`aggregation` and `commit`. `databases` and `transactions` hold what lasts longer.
"""

from devserver.datastore_v1.server import DatastoreV1

__all__ = ["DatastoreV1"]
