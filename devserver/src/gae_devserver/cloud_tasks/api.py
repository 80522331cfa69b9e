"""The RPCs of both versions of the API, for the gRPC port and for REST."""

import time
from typing import Any

from google.protobuf import field_mask_pb2

from gae_devserver.cloud_tasks import messages
from gae_devserver.cloud_tasks.service import CloudTasks
from gae_devserver.rpc.errors import FailedPreconditionError, refuse_if
from gae_devserver.rpc.method import BeforeAnswer, CarryOut, Method

_ROUTING = "app_engine_routing_override"
_APP_ENGINE_QUEUE = "app_engine_http_queue"
_BATCHES = {"BatchCreateTasks", "BatchDeleteTasks"}


def rpcs_of(
    service: CloudTasks | None, before_answer: BeforeAnswer = lambda name: None
) -> dict[str, Method]:
    """Return the RPCs by their full names; without a service, each is refused.

    `before_answer` is called with the name of each RPC that succeeded.
    """
    return {
        f"google.cloud.tasks.{version}.CloudTasks/{rpc}": Method(
            f"CloudTasks.{rpc}",
            messages.request_class(rpc, version),
            messages.response_class(rpc, version),
            _refuse if service is None else _carry_out(service, rpc, version),
            before_answer,
        )
        for version in ("v2", "v2beta3")
        for rpc in messages.RESPONSES
    }


async def _refuse(request: Any, response: Any) -> None:
    raise FailedPreconditionError(
        "this dev server runs with --no-cloud-tasks. Start it without that option, or "
        "do not set APPENGINE_USE_CLOUDTASK_PUSH_QUEUE in app.yaml."
    )


def _carry_out(service: CloudTasks, rpc: str, version: str) -> CarryOut:
    if rpc in _BATCHES:
        return _batch(service, rpc, version)
    name = "".join(f"_{c.lower()}" if c.isupper() else c for c in rpc).lstrip("_")
    method: CarryOut = getattr(service, name)
    if version == "v2":
        return method

    async def convert(request: Any, response: Any) -> None:
        inner = _as_v2(request, rpc)
        answer = messages.response_class(rpc, "v2")()
        await method(inner, answer)
        copy_fields(answer, response)

    if rpc == "GetQueue":
        return _get_queue_with_mask(service, convert)
    return convert


def _batch(service: CloudTasks, rpc: str, version: str) -> CarryOut:
    async def carry_out(request: Any, response: Any) -> None:
        if request.request_id and (earlier := service.earlier_operation(request)):
            response.CopyFrom(earlier)
            return
        began = time.time()
        inner = request if version == "v2" else _as_v2(request, rpc)
        if rpc == "BatchCreateTasks":
            created, failed = await service.batch_create_tasks(inner)
            result = messages.message("BatchCreateTasksResponse", version)()
            for task in created:
                if version == "v2":
                    result.tasks.append(task)
                else:
                    copy_fields(task, result.tasks.add())
        else:
            failed = await service.batch_delete_tasks(inner)
            result = messages.response_class("DeleteTask", version)()
        metadata = messages.message(f"{rpc}Metadata", version)()
        service.operation(request, failed, metadata, result, response, began)

    return carry_out


def _get_queue_with_mask(service: CloudTasks, get_queue: CarryOut) -> CarryOut:
    """Return GetQueue of v2beta3: its mask chooses fields, and alone the statistics."""

    async def carry_out(request: Any, response: Any) -> None:
        await get_queue(request, response)
        mask = request.read_mask
        if not mask.paths:
            return
        queue = service.find_queue(request.name)
        service.fill_statistics(queue, response.stats)
        whole = type(response).FromString(response.SerializeToString())
        response.Clear()
        mask.MergeMessage(whole, response)

    return carry_out


def _as_v2(request: Any, rpc: str) -> Any:
    _refuse_pull(request)
    converted = messages.request_class(rpc, "v2")()
    copy_fields(request, converted)
    return converted


def _refuse_pull(request: Any) -> None:
    """Refuse what only v2beta3 has, for pull queues."""
    names = request.DESCRIPTOR.fields_by_name
    if "task" in names:
        refuse_if(request.task.HasField("pull_message"), "Task.pull_message")
    for one in getattr(request, "requests", ()):
        refuse_if(one.task.HasField("pull_message"), "Task.pull_message")
    if "queue" in names and "type" in request.queue.DESCRIPTOR.fields_by_name:
        is_pull = request.queue.type == request.queue.Type.Value("PULL")
        refuse_if(is_pull, "Queue.type PULL")


def copy_fields(source: Any, target: Any) -> None:
    """Copy the fields of a message to those with the same names of another one.

    The versions of the API number their fields differently.
    """
    if isinstance(source, field_mask_pb2.FieldMask):
        prefix = f"{_APP_ENGINE_QUEUE}."
        target.paths.extend(path.removeprefix(prefix) for path in source.paths)
        return
    for field, value in source.ListFields():
        if field.name == _APP_ENGINE_QUEUE:
            copy_fields(value, target)
            continue
        known = target.DESCRIPTOR.fields_by_name
        if field.name not in known:
            if field.name == _ROUTING and _APP_ENGINE_QUEUE in known:
                copy_fields(
                    value, target.app_engine_http_queue.app_engine_routing_override
                )
            continue
        into = getattr(target, field.name)
        if field.message_type is None:
            if hasattr(into, "extend"):
                into.extend(value)
            else:
                setattr(target, field.name, value)
        elif field.message_type.GetOptions().map_entry:
            into.update(value)
        elif hasattr(into, "add"):
            for item in value:
                copy_fields(item, into.add())
        else:
            into.SetInParent()
            copy_fields(value, into)
