"""The messages of google.datastore.v1, as plain protocol buffers."""

import sys
from typing import Any

from google.protobuf import timestamp_pb2

from gae_devserver.rpc.messages import import_types

_DISTRIBUTION = "google-cloud-datastore"
_types = import_types("google.cloud.datastore_v1", _DISTRIBUTION)
datastore: Any = sys.modules[f"{_types.__name__}.datastore"]
admin: Any = import_types("google.cloud.datastore_admin_v1", _DISTRIBUTION)
"""The messages of google.datastore.admin.v1, as the client library's classes."""


def _message(module: str, name: str) -> Any:
    """Return the plain protocol buffer behind a class of the client library."""
    return getattr(sys.modules[f"{_types.__name__}.{module}"], name).pb()


Entity = _message("entity", "Entity")
Value = _message("entity", "Value")
EntityResult = _message("query", "EntityResult")
Query = _message("query", "Query")
PropertyFilter = _message("query", "PropertyFilter")
CompositeFilter = _message("query", "CompositeFilter")
PropertyOrder = _message("query", "PropertyOrder")
QueryResultBatch = _message("query", "QueryResultBatch")
CommitRequest = _message("datastore", "CommitRequest")
Mutation = _message("datastore", "Mutation")
PropertyTransform = _message("datastore", "PropertyTransform")
Timestamp: Any = timestamp_pb2.Timestamp
