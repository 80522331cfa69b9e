"""The Operations with which batches answer; each is done."""

import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from google.rpc import code_pb2

from gae_devserver.rpc.errors import RpcError

_REMEMBERED = 1000
"""How many Operations can be asked for again."""


class Operations:
    """Fills Operations, and remembers those whose request has a request_id."""

    def __init__(self) -> None:
        """Remember none."""
        self._earlier: OrderedDict[tuple[str, str, str], Any] = OrderedDict()

    def earlier(self, request: Any) -> Any:
        """Return the Operation of the batch that `request` repeats, or None."""
        return self._earlier.get(_identity(request))

    def fill(
        self,
        operation: Any,
        request: Any,
        began: float,
        *,
        metadata: Any,
        result: Any,
        failed: Mapping[int, RpcError],
    ) -> None:
        """Fill the Operation of a batch that has ended.

        Args:
            operation: the Operation.
            request: the request of the batch.
            began: when it began, in real seconds since the epoch.
            metadata: an empty message for the metadata.
            result: the response if a part of the batch has succeeded.
            failed: the errors by the index of their part.
        """
        location = request.parent.partition("/queues/")[0]
        identifier = request.request_id or str(uuid.uuid4())
        operation.name = f"{location}/operations/{identifier}"
        operation.done = True
        metadata.start_time.FromMicroseconds(int(began * 1e6))
        metadata.end_time.FromMicroseconds(int(time.time() * 1e6))
        state = "PARTIALLY_SUCCEEDED" if failed else "SUCCEEDED"
        metadata.state = metadata.State.Value(state)
        for index, error in failed.items():
            status = metadata.failed_requests[index]
            status.code, status.message = error.code.value, str(error)
        operation.metadata.Pack(metadata)
        parts = getattr(request, "requests", None) or request.names
        if len(failed) == len(parts):
            operation.error.code = code_pb2.ABORTED
            operation.error.message = (
                "None of the requests succeeded, refer to "
                f"{metadata.DESCRIPTOR.name}.failed_requests for individual error "
                "details"
            )
        else:
            operation.response.Pack(result)
        if request.request_id:
            self._earlier[_identity(request)] = operation
            if len(self._earlier) > _REMEMBERED:
                self._earlier.popitem(last=False)

    def clear(self) -> None:
        """Forget all Operations."""
        self._earlier.clear()


def _identity(request: Any) -> tuple[str, str, str]:
    return request.DESCRIPTOR.full_name, request.parent, request.request_id
