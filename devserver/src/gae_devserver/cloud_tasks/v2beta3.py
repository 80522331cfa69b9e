"""The messages of version v2beta3 as messages of v2, and back.

The versions number their fields differently, and a queue has its routing elsewhere.
"""

from collections.abc import Iterable
from typing import Any

from google.protobuf import field_mask_pb2

from gae_devserver.cloud_tasks import messages
from gae_devserver.rpc.errors import check, refuse_if

_VERSION = "v2beta3"
_APP_ENGINE_QUEUE = "app_engine_http_queue"
_ROUTING = "app_engine_routing_override"

Queue: Any = messages.message("Queue", _VERSION)


def as_v2(request: Any, rpc: str) -> Any:
    """Return the request of v2.

    Raises:
        UnimplementedError: it asks for what only v2beta3 has, such as a pull queue.
    """
    _refuse_what_v2_lacks(request)
    converted = messages.request_class(rpc, "v2")()
    copy_fields(request, converted)
    return converted


def _refuse_what_v2_lacks(request: Any) -> None:
    fields = request.DESCRIPTOR.fields_by_name
    parts = [request] if "task" in fields else getattr(request, "requests", ())
    for part in parts:
        refuse_if(part.task.HasField("pull_message"), "Task.pull_message")
    if "queue" in fields:
        refuse_if(request.queue.type_ == Queue.PULL, "Queue.type PULL")
        for name in ("task_ttl", "tombstone_ttl"):
            refuse_if(request.queue.HasField(name), f"Queue.{name}")


def copy_fields(source: Any, target: Any) -> None:
    """Copy the fields of a message to those with the same names of another version."""
    if isinstance(source, field_mask_pb2.FieldMask):
        target.paths.extend(_path_in_v2(path) for path in source.paths)
        return
    known = target.DESCRIPTOR.fields_by_name
    for field, value in source.ListFields():
        if field.name == _APP_ENGINE_QUEUE:
            copy_fields(value, target)
        elif field.name == _ROUTING and _APP_ENGINE_QUEUE in known:
            queue = target.app_engine_http_queue
            copy_fields(value, queue.app_engine_routing_override)
        elif field.name in known:
            _copy_field(field, value, target)


def _path_in_v2(path: str) -> str:
    if path == _APP_ENGINE_QUEUE:
        return _ROUTING
    return path.removeprefix(f"{_APP_ENGINE_QUEUE}.")


def _copy_field(field: Any, value: Any, target: Any) -> None:
    into = getattr(target, field.name)
    if field.message_type is None and field.is_repeated:
        into.extend(value)
    elif field.message_type is None:
        setattr(target, field.name, value)
    elif field.message_type.GetOptions().map_entry:
        into.update(value)
    elif field.is_repeated:
        for item in value:
            copy_fields(item, into.add())
    else:
        into.SetInParent()
        copy_fields(value, into)


def queues_in(response: Any) -> Iterable[Any]:
    """Return the queues in the response of any RPC."""
    if isinstance(response, Queue):
        return [response]
    return getattr(response, "queues", ())


def check_mask(mask: field_mask_pb2.FieldMask) -> field_mask_pb2.FieldMask:
    """Return the mask of the fields of queues that a request asks for.

    Raises:
        InvalidArgumentError: no queue has such a field.
    """
    # the field "type" has another name in the messages of Python
    paths = ["type_" if path == "type" else path for path in mask.paths]
    checked = field_mask_pb2.FieldMask(paths=paths)
    check(
        checked.IsValidForDescriptor(Queue.DESCRIPTOR),
        f"read_mask is {', '.join(mask.paths)}, which are not all fields of a queue.",
    )
    return checked


def keep_only(mask: field_mask_pb2.FieldMask, queue: Any) -> None:
    """Clear the fields of a queue that are not in the mask."""
    whole = Queue.FromString(queue.SerializeToString())
    queue.Clear()
    mask.MergeMessage(whole, queue)
