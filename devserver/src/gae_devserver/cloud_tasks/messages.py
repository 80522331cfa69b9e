"""The messages of google.cloud.tasks, as plain protocol buffers."""

from typing import Any

from google.longrunning import operations_proto_pb2
from google.protobuf import empty_pb2

from gae_devserver.rpc.messages import import_types

_DISTRIBUTION = "google-cloud-tasks"
_VERSIONS = {
    version: import_types(f"google.cloud.tasks_{version}", _DISTRIBUTION)
    for version in ("v2", "v2beta3")
}

RESPONSES = {
    "CreateTask": "Task",
    "GetTask": "Task",
    "RunTask": "Task",
    "ListTasks": "ListTasksResponse",
    "CreateQueue": "Queue",
    "GetQueue": "Queue",
    "UpdateQueue": "Queue",
    "PurgeQueue": "Queue",
    "PauseQueue": "Queue",
    "ResumeQueue": "Queue",
    "ListQueues": "ListQueuesResponse",
    "DeleteTask": empty_pb2.Empty,
    "DeleteQueue": empty_pb2.Empty,
    "BatchCreateTasks": operations_proto_pb2.Operation,
    "BatchDeleteTasks": operations_proto_pb2.Operation,
}
"""The RPCs that are served -> the class of the response, or its name in the API."""


def message(name: str, version: str = "v2") -> Any:
    """Return the class of a message."""
    return getattr(_VERSIONS[version], name).pb()


def request_class(rpc: str, version: str) -> Any:
    """Return the class of an RPC's request."""
    return message(f"{rpc}Request", version)


def response_class(rpc: str, version: str) -> Any:
    """Return the class of an RPC's response."""
    response = RESPONSES[rpc]
    return message(response, version) if isinstance(response, str) else response


Task: Any = message("Task")
Queue: Any = message("Queue")
HttpMethod: Any = _VERSIONS["v2"].HttpMethod
