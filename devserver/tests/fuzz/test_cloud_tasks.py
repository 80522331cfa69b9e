"""The port for Cloud Tasks: random bytes, and requests with random contents."""

import asyncio
import contextlib
import functools
import logging
import math
from collections.abc import Iterator
from typing import Any

import grpc.aio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gae_devserver.cloud_tasks import messages
from gae_devserver.cloud_tasks.identity import Identity
from gae_devserver.cloud_tasks.requests import make_request
from gae_devserver.tasks.runner import TaskRunner
from tests.fuzz.conftest import Reached
from tests.fuzz.messages import TEXTS, Style
from tests.fuzz.messages import messages as any_message
from tests.helpers.calls import Message, Server
from tests.helpers.clock import StoppedClock
from tests.helpers.cloud_tasks import (
    FULL,
    LOCATION,
    QUEUE,
    app_task,
    queue_name,
    serving,
    task_name,
)
from tests.helpers.recording_app import App, Execution
from tests.helpers.waiting import PATIENCE

RPCS = list(messages.RESPONSES)
VERSIONS = ["v2", "v2beta3"]
MADE = queue_name("made")
QUEUES = [QUEUE, MADE, queue_name("missing")]
OTHER = "projects/other/locations/us-central1"
THERE = task_name("there")
"""A task that exists before the first call."""
TASKS = [THERE, THERE, *(task_name("a", queue) for queue in QUEUES)]
ODD_NAMES = [*TEXTS, LOCATION, *QUEUES, f"{OTHER}/queues/default", task_name("é")]
ENDS = [253402300799, 2**63 - 1, -(2**63)]
STYLE = Style(
    depth=5,
    known={
        "parent": [QUEUE] * 20 + [MADE] * 5 + ODD_NAMES,
        "name": TASKS * 5 + ODD_NAMES,
        "names": TASKS * 10 + ODD_NAMES,
        "relative_uri": ["/", "/a?b", "/é"] * 10 + ["", "a", "/ \r\n"],
        "url": ["http://localhost:1/", "https://é"] * 10 + ["", "ftp://x", "http:/\n"],
        # a task for another service always fails, perhaps every 0.1 s for ten years
        "service": ["default"] * 10 + [""],
        "service_account_email": ["a@b", ""],
        "filter": ["", "", "state: PAUSED", "state", "x"],
        "page_size": [0, 1, 2, 1000, -1, 2**31 - 1],
        "page_token": ["", "", "YQ==", "x", "é"],
        "paths": [
            "rate_limits",
            "retry_config.max_attempts",
            "app_engine_http_queue",
            "stats",
            "type",
            "name",
            ".",
            "a.b",
            "state.x",
            "*",
            "é",
        ],
        # within the range of a Duration, and outside
        "seconds": [0, 1, 15, 900, 10**6, 2**31, 315576000000] * 5 + [-1, *ENDS],
        "nanos": [0, 1, 999_999_999] * 10 + [-1, 2**31 - 1],
        "max_dispatches_per_second": [0, 1, 0.001, 500] * 5 + [501, -1, math.nan],
        "max_concurrent_dispatches": [0, 1, 5000] * 5 + [-1],
        "max_attempts": [0, 1, 2, -1, 2**31 - 1] * 5 + [-2],
        "max_doublings": [0, 1, 16, 2**31 - 1] * 5 + [-1],
    },
    usual=["parent", "name", "names", "task", "queue", "requests", "message_type"],
    # with these, most requests are refused
    rare=[
        "pull_message",
        "type_",
        "task_ttl",
        "tombstone_ttl",
        "response_view",
        "http_method",
        "schedule_time",
        "dispatch_deadline",
        "stackdriver_logging_config",
        "headers",
        "body",
        "filter",
        "request_id",
        "read_mask",
        "update_mask",
        "page_token",
        "oauth_token",
        "oidc_token",
    ],
)
Status = grpc.StatusCode
EXPECTED = {
    Status.OK,
    Status.INVALID_ARGUMENT,
    Status.NOT_FOUND,
    Status.ALREADY_EXISTS,
    Status.FAILED_PRECONDITION,
    Status.PERMISSION_DENIED,
    Status.UNIMPLEMENTED,
}
"""The answers of the service. INTERNAL would be a bug, DEADLINE_EXCEEDED a hang."""

Call = tuple[str, str, Message]


@st.composite
def calls(draw: st.DrawFn) -> Call:
    """Draw an RPC, a version of the API and a request."""
    rpc, version = draw(st.sampled_from(RPCS)), draw(st.sampled_from(VERSIONS))
    request = draw(any_message(messages.request_class(rpc, version), STYLE))
    if draw(st.integers(0, 9)):
        _name_what_exists(draw, request)
    return rpc, version, request


def _name_what_exists(draw: st.DrawFn, request: Message) -> None:
    """Give a request the names that most requests of its kind have."""
    kind = type(request).__name__
    fields = request.DESCRIPTOR.fields_by_name
    if "parent" in fields:
        queue = draw(st.sampled_from([QUEUE, QUEUE, MADE]))
        request.parent = LOCATION if "Queue" in kind else queue
    if "name" in fields:
        request.name = draw(st.sampled_from(QUEUES if "Queue" in kind else TASKS))
    if "queue" in fields:
        request.queue.name = draw(st.sampled_from(QUEUES))
    parts = [request] if "task" in fields else getattr(request, "requests", ())
    for part in parts:
        if "requests" in fields:
            part.parent = ""
        name = draw(st.sampled_from(["a", "b", "c", "there"]))
        part.task.name = task_name(name, request.parent)


class Port:
    """A server, and a client that checks every answer."""

    def __init__(self, loop: asyncio.Runner) -> None:
        self._loop = loop
        self._stack = contextlib.AsyncExitStack()
        loop.run(self._start())

    async def _start(self) -> None:
        self._clock = StoppedClock()
        self._server = Server(clock=self._clock)
        self._stack.callback(self._server.services.close)
        app = App(self._clock)
        app.answer = _first_fails
        self._runner = TaskRunner(
            self._server.services.taskqueue,
            self._clock,
            app.dispatch,
            app,
            make_request=functools.partial(make_request, Identity()),
        )
        enter = self._stack.enter_async_context
        host = await enter(serving(self._server, self._runner))
        channel = await enter(grpc.aio.insecure_channel(host))
        self._unary: Any = channel.unary_unary

    def begin(self) -> None:
        """Create a task."""
        task = app_task("there")
        self._loop.run(self._call("CreateTask", "v2", parent=QUEUE, task=task))

    def send(self, rpc: str, version: str, data: bytes) -> grpc.StatusCode:
        """Make a call, and check its answer; a refused one must change nothing."""
        return self._loop.run(self._send(rpc, version, data))

    async def _send(self, rpc: str, version: str, data: bytes) -> grpc.StatusCode:
        before = self._state()
        method = f"/google.cloud.tasks.{version}.CloudTasks/{rpc}"
        try:
            await self._unary(method)(data, timeout=PATIENCE)
            status, text = Status.OK, ""
        except grpc.aio.AioRpcError as error:
            status, text = error.code(), error.details() or ""
        assert status in EXPECTED, f"{rpc}: {status} {text}"
        if status is not Status.OK:
            assert text
            assert self._state() == before
        await self._runner.quiet(PATIENCE)
        return status

    def _state(self) -> Any:
        return [
            (queue.config, queue.paused, queue.tasks_from("", 1000))
            for queue in self._server.services.taskqueue.queues().values()
        ]

    def finish(self) -> None:
        """Check that each queue and task can be answered and run; delete them."""
        self._loop.run(self._finish())

    async def _finish(self) -> None:
        for version in VERSIONS:
            listed = await self._call("ListQueues", version, parent=LOCATION)
            for queue in listed.queues:
                fields = {"parent": queue.name, "response_view": FULL}
                await self._call("ListTasks", version, **fields)
        for days in (0, 31, 3650):
            await self._runner.advance(days * 86400)
        self._server.services.clear()
        self._clock.reset()

    async def _call(self, rpc: str, version: str, **fields: Any) -> Any:
        request = messages.request_class(rpc, version)(**fields)
        method = f"/google.cloud.tasks.{version}.CloudTasks/{rpc}"
        data = request.SerializeToString()
        answer = await self._unary(method)(data, timeout=PATIENCE)
        return messages.response_class(rpc, version).FromString(answer)

    def stop(self) -> None:
        """Check that an ordinary task is stored and found, and stop the server."""

        async def stop() -> None:
            async with self._stack:
                await self._call("CreateTask", "v2", parent=QUEUE, task=app_task("x"))
                assert await self._call("GetTask", "v2", name=task_name("x"))

        self._loop.run(stop())


def _first_fails(execution: Execution) -> int:
    retries = execution.headers.get("x-appengine-taskretrycount", "1")
    return 500 if retries == "0" else 200


@pytest.fixture
def port(
    loop: asyncio.Runner, sdk_state: None, caplog: pytest.LogCaptureFixture
) -> Iterator[Port]:
    """A server that still works after the test."""
    port = Port(loop)
    yield port
    port.stop()
    # a task that is dropped is logged as an error too, but without a traceback
    assert [
        r for r in caplog.records if r.exc_info and r.levelno >= logging.ERROR
    ] == []


@given(
    rpc=st.sampled_from(RPCS),
    version=st.sampled_from(VERSIONS),
    data=st.binary(max_size=200),
)
def test_any_bytes(port: Port, rpc: str, version: str, data: bytes) -> None:
    """Random bytes are refused, or answered if they happen to be a request."""
    port.send(rpc, version, data)
    port.finish()


@pytest.mark.reaches(
    CreateTask=0.002, UpdateQueue=0.002, DeleteTask=0.002, RunTask=0.002
)
@settings(max_examples=5 * settings().max_examples)
@given(some=st.lists(calls(), min_size=1, max_size=4))
def test_any_messages(port: Port, reached: Reached, some: list[Call]) -> None:
    """Requests with random contents of the right types, one after the other."""
    port.begin()
    served = {
        rpc
        for rpc, version, request in some
        if port.send(rpc, version, request.SerializeToString()) is Status.OK
    }
    port.finish()
    reached(*served)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("rpc", RPCS)
def test_default_message(port: Port, rpc: str, version: str) -> None:
    """Every RPC refuses an empty message."""
    assert port.send(rpc, version, b"") is Status.INVALID_ARGUMENT
    port.finish()
