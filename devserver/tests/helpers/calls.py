"""The services, and API calls as the SDK inside the app makes them."""

import asyncio
import dataclasses
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as taskqueue_pb
from google.appengine.datastore import datastore_pb, entity_bytes_pb2
from google.appengine.runtime import apiproxy_errors

from gae_devserver.activity.activity import Activity
from gae_devserver.clock import Clock
from gae_devserver.config.app_yaml import AppConfig
from gae_devserver.config.application import AppFiles, Application
from gae_devserver.config.cron_yaml import CronJob
from gae_devserver.config.dispatch_yaml import DispatchRule
from gae_devserver.config.index_yaml import IndexYaml
from gae_devserver.config.queue_yaml import QueueConfig
from gae_devserver.http.routing import Routing
from gae_devserver.http.running_requests import RunningRequests
from gae_devserver.services import rpc_table
from gae_devserver.services.request_info import RunningService
from gae_devserver.services.services import Services
from tests.helpers.clock import StoppedClock
from tests.helpers.waiting import PATIENCE

PROJECT = "unit"
APP_ID = "dev~unit"
HOSTNAME = "localhost:8080"
NO_INDEXES = IndexYaml()

READ_ONLY = datastore_pb.BeginTransactionRequest.READ_ONLY
CONCURRENT_TRANSACTION = datastore_pb.Error.CONCURRENT_TRANSACTION
BAD_REQUEST = datastore_pb.Error.BAD_REQUEST
TASK_ERRORS = taskqueue_pb.TaskQueueServiceError
PULL = taskqueue_pb.TaskQueueMode.PULL

Message = Any
"""A protocol buffer; the SDK's classes have no types."""


def filled(message: Message) -> Message:
    """Set the required fields of a message to zero or empty, and return it."""
    for field in message.DESCRIPTOR.fields:
        if not field.is_required:
            continue
        if field.message_type is not None:
            getattr(message, field.name).SetInParent()
            filled(getattr(message, field.name))
        elif field.enum_type is not None:
            setattr(message, field.name, field.enum_type.values[0].number)
        else:
            setattr(message, field.name, getattr(message, field.name))
    return message


def app_config(**changes: Any) -> AppConfig:
    """Return the configuration of a minimal app.yaml, with these changes."""
    folder = changes.get("folder", Path("app"))
    config = AppConfig(
        path=folder / "app.yaml",
        folder=folder,
        files=(folder / "app.yaml",),
        runtime="python313",
        python=(3, 13),
        service="default",
        entrypoint=None,
        env_variables={},
        app_engine_apis=True,
        inbound_services=frozenset(),
        static_handlers=(),
        warnings=(),
    )
    return dataclasses.replace(config, **changes)


def application(
    *queues: QueueConfig,
    cron_jobs: Sequence[CronJob] = (),
    indexes: IndexYaml = NO_INDEXES,
    **changes: Any,
) -> Application:
    """Return an app with one service, these queues and the default queue."""
    config = app_config(**changes)
    names = ("queue", "cron", "index")
    files = {name: config.folder / f"{name}.yaml" for name in names}
    return Application(
        services=(config,),
        files=AppFiles(**files, dispatch=None),
        queues=(QueueConfig("default"), *queues),
        cron_jobs=tuple(cron_jobs),
        indexes=indexes,
    )


def reference(*path: object, namespace: str = "") -> Message:
    """Return the datastore key of a path: kind, id or name, kind, and so on."""
    key = entity_bytes_pb2.Reference(app=APP_ID)
    if namespace:
        key.name_space = namespace
    for kind, identifier in zip(path[::2], path[1::2], strict=True):
        element = key.path.element.add(type=kind)
        if isinstance(identifier, str):
            element.name = identifier
        elif isinstance(identifier, int):
            element.id = identifier
    return key


@dataclasses.dataclass(frozen=True)
class AppRequest:
    """A request that the app is handling, with the API calls it makes."""

    services: Services
    ticket: str

    async def call(self, service: str, method: str, message: Message) -> Message:
        """Make one API call and return the response message."""
        _, response_class = rpc_table.message_classes(service, method)
        data = message.SerializeToString()
        answer = await self.services.call(service, method, data, self.ticket)
        return response_class.FromString(answer)

    async def begin(self, **options: Any) -> Message:
        """Begin a transaction."""
        request = datastore_pb.BeginTransactionRequest(app=APP_ID, **options)
        return await self.call("datastore_v3", "BeginTransaction", request)

    async def get(self, key: Message, transaction: Message = None) -> int | None:
        """Return the count of an entity; None where there is no such entity."""
        request = datastore_pb.GetRequest(key=[key])
        if transaction is not None:
            request.transaction.CopyFrom(transaction)
        answer = await self.call("datastore_v3", "Get", request)
        if not answer.entity[0].HasField("entity"):
            return None
        return answer.entity[0].entity.property[0].value.int64Value

    async def put(
        self, key: Message, count: int, transaction: Message = None
    ) -> Message:
        """Store an entity; return its key."""
        request = datastore_pb.PutRequest()
        entity = request.entity.add(key=key)
        entity.entity_group.element.add().CopyFrom(key.path.element[0])
        counter = entity.property.add(name="count", multiple=False)
        counter.value.int64Value = count
        if transaction is not None:
            request.transaction.CopyFrom(transaction)
        return (await self.call("datastore_v3", "Put", request)).key[0]

    async def delete(self, key: Message) -> None:
        """Delete an entity outside a transaction."""
        request = datastore_pb.DeleteRequest(key=[key])
        await self.call("datastore_v3", "Delete", request)

    async def commit(self, transaction: Message) -> None:
        """Commit a transaction."""
        await self.call("datastore_v3", "Commit", transaction)

    async def rollback(self, transaction: Message) -> None:
        """Roll a transaction back."""
        await self.call("datastore_v3", "Rollback", transaction)

    async def increment(self, key: Message, amount: int = 1) -> None:
        """Add to a counter in one transaction."""
        transaction = await self.begin()
        count = await self.get(key, transaction) or 0
        # Other requests get their turn between the read and the write, as over HTTP.
        await asyncio.sleep(0)
        await self.put(key, count + amount, transaction)
        await self.commit(transaction)

    async def add(self, name: str = "", **fields: Any) -> str:
        """Add one task and return its name."""
        message = add_request(name, **fields)
        answer = await self.call("taskqueue", "Add", message)
        return str(answer.chosen_task_name.decode() or name)

    async def bulk_add(self, messages: Iterable[Message]) -> list[int]:
        """Add many tasks and return the result code of each."""
        bulk = taskqueue_pb.TaskQueueBulkAddRequest(add_request=messages)
        answer = await self.call("taskqueue", "BulkAdd", bulk)
        return [result.result for result in answer.taskresult]

    async def tasks(self, queue: str = "default") -> list[Message]:
        """Return the tasks of a queue, by name."""
        request = taskqueue_pb.TaskQueueQueryTasksRequest(
            queue_name=queue.encode(), max_rows=2000
        )
        return list((await self.call("taskqueue", "QueryTasks", request)).task)

    async def names(self, queue: str = "default") -> list[str]:
        """Return the names of the tasks of a queue."""
        return [task.task_name.decode() for task in await self.tasks(queue)]


async def code_of(work: Any) -> int:
    """Return the code of the ApplicationError that a call raises soon."""
    with pytest.raises(apiproxy_errors.ApplicationError) as error:
        await asyncio.wait_for(work, PATIENCE)
    return error.value.application_error


def add_request(
    name: str = "",
    *,
    queue: str = "default",
    due_in: float = 0.0,
    headers: Sequence[tuple[str, str]] = (),
    now: float | None = None,
    **fields: Any,
) -> Message:
    """Return what `taskqueue.add` sends; `due_in` counts from the app's real time."""
    message = taskqueue_pb.TaskQueueAddRequest(
        queue_name=queue.encode(),
        task_name=name.encode(),
        eta_usec=int(((time.time() if now is None else now) + due_in) * 1e6),
        **{"url": b"/work", "body": b"", **fields},
    )
    for key, value in headers:
        message.header.add(key=key.encode(), value=value.encode())
    return message


class Server:
    """The services and the running requests, for the event loop that is running."""

    def __init__(
        self,
        *queues: QueueConfig,
        clock: Clock | None = None,
        others: Sequence[str] = (),
        rules: Sequence[DispatchRule] = (),
        **options: Any,
    ) -> None:
        """Make the services; `options` are those of `Services`, or `app`.

        `others` are services of the app besides the main one, for which `rules` are.
        """
        app = options.pop("app", None) or application(*queues)
        self.clock = clock or StoppedClock()
        activity = Activity(self.clock.now)
        self.requests = RunningRequests(app.main.service, activity)
        version = options.pop("version", "1")
        running = options.pop("running", None) or {
            config.service: RunningService.of(config, version, HOSTNAME)
            for config in (*app.services, *(app_config(service=s) for s in others))
        }
        versions = {name: service.version for name, service in running.items()}
        self.routing = Routing(versions, app.main.service, rules, PROJECT)
        self.services = Services(
            app,
            running,
            PROJECT,
            self.requests,
            self.clock,
            default_hostname=HOSTNAME,
            routing=self.routing,
            **options,
        )

    def request(
        self, url: str = f"http://{HOSTNAME}/", service: str | None = None
    ) -> AppRequest:
        """Return a new request that a service is handling."""
        return AppRequest(self.services, self.requests.begin(url, service))

    def end(self, request: AppRequest) -> None:
        """End a request, as its answer does."""
        self.requests.end(request.ticket)
