"""API calls as the SDK inside the app makes them, and an app that answers as told."""

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from gae_devserver.app.supervisor import AppUnavailable
from gae_devserver.clock import Clock
from gae_devserver.config.app_yaml import AppConfig
from gae_devserver.config.queue_yaml import QueueConfig
from gae_devserver.http.running_requests import RunningRequests
from gae_devserver.services import rpc_table
from gae_devserver.services.services import Services
from google.appengine.api import queueinfo
from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as taskqueue_pb
from google.appengine.datastore import datastore_pb, entity_bytes_pb2

PROJECT = "unit"
APP_ID = "dev~unit"
HOSTNAME = "localhost:8080"

READ_ONLY = datastore_pb.BeginTransactionRequest.READ_ONLY
CONCURRENT_TRANSACTION = datastore_pb.Error.CONCURRENT_TRANSACTION
BAD_REQUEST = datastore_pb.Error.BAD_REQUEST
TASK_ERRORS = taskqueue_pb.TaskQueueServiceError
PULL = taskqueue_pb.TaskQueueMode.PULL

Message = Any
"""A protocol buffer; the SDK's classes have no types."""


class StoppedClock(Clock):
    """A clock that only `offset` moves, so that moments can be compared exactly."""

    def __init__(self) -> None:
        super().__init__()
        self.start = float(int(time.time()))

    def now(self) -> float:
        """Return the start plus what was advanced."""
        return self.start + self.offset

    def elapsed(self) -> float:
        """Return the seconds since the start, to the millisecond."""
        return round(self.now() - self.start, 3)


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Let the loop run until `condition` is true; fail after `seconds`."""
    async with asyncio.timeout(seconds):
        # what is waited for has no event of its own
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def settled(turns: int = 20) -> None:
    """Let everything run that can run without waiting for anything."""
    for _ in range(turns):
        await asyncio.sleep(0)


def app_config(*queues: QueueConfig, **changes: Any) -> AppConfig:
    """Return what an app.yaml with only the necessary lines, and queue.yaml, say."""
    config = AppConfig(
        folder=Path("app"),
        runtime="python313",
        service="default",
        entrypoint=None,
        env_variables={},
        app_engine_apis=True,
        warmup=False,
        static_handlers=(),
        queues=(QueueConfig("default"), *queues),
        warnings=(),
    )
    return dataclasses.replace(config, **changes)


def retry_parameters(**parameters: Any) -> queueinfo.RetryParameters:
    """Return `retry_parameters` of queue.yaml as its parser does."""
    return queueinfo.RetryParameters(**parameters)


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


def set_count(entity: Message, key: Message, count: int) -> None:
    """Make an entity of `key` with the one property `count`."""
    entity.key.CopyFrom(key)
    entity.entity_group.element.add().CopyFrom(key.path.element[0])
    counter = entity.property.add(name="count", multiple=False)
    counter.value.int64Value = count


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
        count: int = answer.entity[0].entity.property[0].value.int64Value
        return count

    async def put(
        self, key: Message, count: int, transaction: Message = None
    ) -> Message:
        """Store an entity; return its key."""
        request = datastore_pb.PutRequest()
        set_count(request.entity.add(), key, count)
        if transaction is not None:
            request.transaction.CopyFrom(transaction)
        return (await self.call("datastore_v3", "Put", request)).key[0]

    async def delete(self, key: Message) -> None:
        """Delete an entity outside of a transaction."""
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
        # others get their turn between the read and the write, as over HTTP
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


@dataclasses.dataclass(frozen=True)
class Execution:
    """A task as it arrives at the app."""

    at: float
    """Seconds since the start of the stopped clock."""
    method: str
    target: str
    header_list: tuple[tuple[str, str], ...]
    body: bytes
    deadline: float

    @property
    def headers(self) -> dict[str, str]:
        """The headers, names in lower case."""
        return {name.lower(): value for name, value in self.header_list}

    @property
    def name(self) -> str:
        """The task's name."""
        return self.headers["x-appengine-taskname"]


Outcome = int | BaseException | Awaitable[int]
"""What comes of one execution: a status, an error, or something to wait for."""


class App:
    """Stands where the front sends tasks; answers 200, or what a test has chosen."""

    def __init__(self, clock: StoppedClock) -> None:
        self._clock = clock
        self.executions: list[Execution] = []
        self.answer: Callable[[Execution], Outcome] = lambda execution: 200
        self.failure: str | None = None
        """Why the app does not run; None: it runs."""
        self.running = 0
        self.peak = 0

    async def ready(self) -> None:
        """Say whether the app runs (`gae_devserver.tasks.runner.Ready`)."""
        if self.failure is not None:
            raise AppUnavailable(self.failure)

    async def dispatch(
        self,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        *,
        deadline: float,
    ) -> int:
        """Take a task and answer (`gae_devserver.tasks.runner.Dispatch`)."""
        await self.ready()
        at = self._clock.elapsed()
        execution = Execution(at, method, target, tuple(headers), body, deadline)
        self.executions.append(execution)
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            # the answer of an app takes a turn of the loop at least
            await asyncio.sleep(0)
            outcome = self.answer(execution)
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome if isinstance(outcome, int) else await outcome
        finally:
            self.running -= 1

    def answers(self, *outcomes: Outcome) -> None:
        """Answer with these outcomes in turn, then with 200."""
        waiting = iter(outcomes)
        self.answer = lambda execution: next(waiting, 200)

    @property
    def times(self) -> list[float]:
        """When tasks were executed, in seconds since the start."""
        return [execution.at for execution in self.executions]

    @property
    def names(self) -> list[str]:
        """Which tasks were executed, in order."""
        return [execution.name for execution in self.executions]


class Server:
    """The services with requests that are running, made inside the loop."""

    def __init__(
        self, *queues: QueueConfig, clock: Clock | None = None, **options: Any
    ) -> None:
        """Make the services; `options` are those of `Services`, or `config`."""
        config = options.pop("config", None) or app_config(*queues)
        self.clock = clock or StoppedClock()
        self.requests = RunningRequests()
        self.services = Services(
            config,
            PROJECT,
            self.requests,
            self.clock,
            default_hostname=HOSTNAME,
            **options,
        )

    def request(self, url: str = f"http://{HOSTNAME}/") -> AppRequest:
        """Return a new request that the app is handling."""
        return AppRequest(self.services, self.requests.begin(url))

    def end(self, request: AppRequest) -> None:
        """End a request, as its answer does."""
        self.requests.end(request.ticket)
