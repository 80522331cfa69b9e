"""The RPCs of both versions of the API, for the gRPC port and for REST."""

import time
from typing import Any

from gae_devserver.cloud_tasks import messages, v2beta3
from gae_devserver.cloud_tasks.service import CloudTasks
from gae_devserver.rpc.errors import FailedPreconditionError
from gae_devserver.rpc.method import BeforeAnswer, CarryOut, Method

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
    rpcs = service.queues if "Queue" in rpc else service.tasks
    method: CarryOut = getattr(rpcs, name)
    return method if version == "v2" else _converted(service, rpc, method)


def _converted(service: CloudTasks, rpc: str, method: CarryOut) -> CarryOut:
    """Return an RPC of v2beta3, which shows more of a queue if a mask asks for it."""

    async def carry_out(request: Any, response: Any) -> None:
        inner = v2beta3.as_v2(request, rpc)
        has_mask = "read_mask" in request.DESCRIPTOR.fields_by_name
        mask = v2beta3.check_mask(request.read_mask) if has_mask else None
        answer = messages.response_class(rpc, "v2")()
        await method(inner, answer)
        v2beta3.copy_fields(answer, response)
        for described in v2beta3.queues_in(response):
            queue = service.directory.queue(described.name, "name")
            described.type_ = described.PUSH if queue.is_push else described.PULL
            if mask is not None and mask.paths:
                service.queues.fill_statistics(queue, described.stats)
                v2beta3.keep_only(mask, described)

    return carry_out


def _batch(service: CloudTasks, rpc: str, version: str) -> CarryOut:
    async def carry_out(request: Any, response: Any) -> None:
        if (earlier := service.operations.earlier(request)) is not None:
            response.CopyFrom(earlier)
            return
        began = time.time()
        inner = request if version == "v2" else v2beta3.as_v2(request, rpc)
        if rpc == "BatchCreateTasks":
            created, failed = await service.tasks.batch_create_tasks(inner)
            result = messages.message("BatchCreateTasksResponse", version)()
            for task in created:
                if version == "v2":
                    result.tasks.append(task)
                else:
                    v2beta3.copy_fields(task, result.tasks.add())
        else:
            failed = await service.tasks.batch_delete_tasks(inner)
            result = messages.response_class("DeleteTask", version)()
        metadata = messages.message(f"{rpc}Metadata", version)()
        service.operations.fill(
            response, request, began, metadata=metadata, result=result, failed=failed
        )

    return carry_out
