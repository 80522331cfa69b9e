"""The SDK's stub of datastore_v4, which must not ignore mutations."""

from typing import Any

from google.appengine.datastore.datastore_v4_stub import DatastoreV4Stub


class DatastoreV4(DatastoreV4Stub):  # type: ignore[misc]
    """Refuses a commit that the SDK's stub would answer without doing it."""

    def _Dynamic_Commit(self, request: Any, response: Any) -> None:
        if request.mutation:
            raise NotImplementedError("use deprecated_mutation instead of mutation")
        super()._Dynamic_Commit(request, response)
