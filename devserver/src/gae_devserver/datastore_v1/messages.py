"""The messages of google.datastore.v1, without the rest of the client library.

A plain import of `google.cloud.datastore_v1` takes more than half a second, nearly all
of it for clients and credentials, which a server does not need.
"""

import importlib.util
import sys
from typing import Any

_PACKAGE = "google.cloud.datastore_v1"


def _import_types() -> Any:
    if _PACKAGE in sys.modules:
        return importlib.import_module(f"{_PACKAGE}.types")
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None:
        raise ImportError(
            "the dev server needs google-cloud-datastore, which is not installed."
            " Run: pip install google-cloud-datastore"
        )
    # Register the package without running its __init__, so that its types are found.
    sys.modules[_PACKAGE] = importlib.util.module_from_spec(spec)
    try:
        return importlib.import_module(f"{_PACKAGE}.types")
    finally:
        # A later import in this process gets the whole package.
        del sys.modules[_PACKAGE]


_types = _import_types()
datastore: Any = sys.modules[f"{_PACKAGE}.types.datastore"]


def _message(module: str, name: str) -> Any:
    """Return the plain protocol buffer behind a class of the client library."""
    return getattr(sys.modules[f"{_PACKAGE}.types.{module}"], name).pb()


Entity = _message("entity", "Entity")
EntityResult = _message("query", "EntityResult")
PropertyFilter = _message("query", "PropertyFilter")
CompositeFilter = _message("query", "CompositeFilter")
PropertyOrder = _message("query", "PropertyOrder")
QueryResultBatch = _message("query", "QueryResultBatch")
CommitRequest = _message("datastore", "CommitRequest")
Mutation = _message("datastore", "Mutation")
