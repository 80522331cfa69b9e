"""The JSON API for queues, entities and the clock, asked over HTTP."""

import asyncio
import base64
import dataclasses
import datetime
import json
import math
import os
import pickle
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from google.appengine.api import datastore
from google.appengine.ext import deferred

from gae_devserver.config.queue_yaml import QueueConfig
from gae_devserver.console.state_api import StateApi
from gae_devserver.http.server import TOKEN_HEADER
from gae_devserver.tasks.runner import TaskRunner
from tests.helpers.calls import (
    HOSTNAME,
    PULL,
    AppRequest,
    Server,
    add_request,
    reference,
)
from tests.helpers.clock import StoppedClock
from tests.helpers.recording_app import App
from tests.helpers.waiting import until

pytestmark = pytest.mark.asyncio

JSON_TYPE = {"Content-Type": "application/json"}


@dataclasses.dataclass(frozen=True)
class State:
    """A state API on a port of its own, and the app whose state it is."""

    server: Server
    app: App
    api: AppRequest
    runner: TaskRunner
    clock: StoppedClock
    session: aiohttp.ClientSession

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        status: int = 200,
        data: bytes | None = None,
    ) -> Any:
        """Send JSON, check the status, and return the JSON of the answer."""
        if data is None and method not in {"GET", "HEAD"}:
            data = json.dumps({} if body is None else body).encode()
        headers = JSON_TYPE if data is not None else {}
        async with self.session.request(
            method, path, data=data, headers=headers
        ) as answer:
            text = await answer.text()
            assert answer.status == status, text
            assert answer.content_type == "application/json"
            return json.loads(text)

    async def get(self, path: str, status: int = 200) -> Any:
        """GET a path."""
        return await self.ask("GET", path, status=status)

    async def post(self, path: str, body: object = None, status: int = 200) -> Any:
        """POST JSON to a path."""
        return await self.ask("POST", path, body, status=status)

    async def advance(self, seconds: float) -> Any:
        """Advance the clock."""
        return await self.post("/clock/advance", {"seconds": seconds})

    async def add(self, name: str = "", due_in: float = 0.0, **fields: Any) -> str:
        """Add a task as the app does, whose time stands still."""
        return await self.api.add(name, due_in=due_in, now=self.clock.start, **fields)

    async def queue(self, name: str = "default") -> Any:
        """Return one of the queues."""
        queues = (await self.get("/queues"))["queues"]
        return next(queue for queue in queues if queue["name"] == name)

    async def names(self, queue: str = "default") -> list[str]:
        """Return the names of the tasks of a queue."""
        return [task["name"] for task in (await self.queue(queue))["tasks"]]


@pytest_asyncio.fixture
async def make_state(
    make_server: Callable[..., Server], app: App, clock: StoppedClock
) -> AsyncIterator[Callable[..., Any]]:
    """Start services, a task runner and a state API for given queues."""
    ends: list[Callable[[], Any]] = []

    async def make(*queues: QueueConfig) -> State:
        server = make_server(*queues)
        runner = TaskRunner(server.services.taskqueue, clock, app.dispatch, app.ready)
        runner.start()
        ends.append(runner.stop)
        token = secrets.token_hex(16)
        state_api = StateApi(server.services, runner, clock, token)
        sock = socket.create_server(("127.0.0.1", 0))
        await state_api.start(sock)
        ends.append(state_api.stop)
        port = sock.getsockname()[1]
        session = aiohttp.ClientSession(
            f"http://127.0.0.1:{port}", headers={TOKEN_HEADER: token}
        )
        ends.append(session.close)
        return State(server, app, server.request(), runner, clock, session)

    yield make
    for end in reversed(ends):
        await end()


@pytest_asyncio.fixture
async def state(make_state: Callable[..., Any]) -> State:
    """A state API with the default queue."""
    made: State = await make_state()
    return made


# --- queues --------------------------------------------------------------------------


async def test_the_queues_are_listed(make_state: Callable[..., Any]) -> None:
    """All of queue.yaml, with what it says."""
    state = await make_state(
        QueueConfig("fast", rate=2.5, bucket_size=7, max_concurrent_requests=3),
        QueueConfig("pull", mode="pull"),
    )
    nothing = {"paused": False, "executed_last_hour": 0, "tasks": []}
    assert await state.get("/queues") == {
        "queues": [
            {
                "name": "default",
                "mode": "push",
                "rate": None,
                "bucket_size": 5,
                "max_concurrent_requests": None,
                **nothing,
            },
            {
                "name": "fast",
                "mode": "push",
                "rate": 2.5,
                "bucket_size": 7,
                "max_concurrent_requests": 3,
                **nothing,
            },
            {
                "name": "pull",
                "mode": "pull",
                "rate": None,
                "bucket_size": 5,
                "max_concurrent_requests": None,
                **nothing,
            },
        ]
    }


async def test_the_tasks_are_listed_in_the_order_of_their_etas(state: State) -> None:
    """With the app's time as ETA and the server's countdown, also after an advance."""
    await state.advance(1000)
    body = deferred.serialize(time.monotonic)
    await state.add("b", 60, body=body, url=b"/_ah/queue/deferred")
    await state.add("a", 30, method=2, url=b"/work?x=1")
    await state.advance(10)
    # the offset is taken off: by then the app itself would count 10 s less
    eta = state.clock.start - 10
    assert (await state.queue())["tasks"] == [
        {
            "name": "a",
            "method": "POST",
            "url": "/work?x=1",
            "eta": eta + 30,
            "due_in": 20,
            "retry_count": 0,
            "execution_count": 0,
            "function": None,
            "size": 0,
            "running": False,
        },
        {
            "name": "b",
            "method": "POST",
            "url": "/_ah/queue/deferred",
            "eta": eta + 60,
            "due_in": 50,
            "retry_count": 0,
            "execution_count": 0,
            "function": "time.monotonic",
            "size": len(body),
            "running": False,
        },
    ]


async def test_a_task_is_shown_with_headers_and_payload(state: State) -> None:
    """The same as in the list, and the bytes themselves."""
    await state.add("a", 60, body=b"\x00\xff", headers=[("X-Own", "1")])
    (listed,) = (await state.queue())["tasks"]
    shown = await state.get("/queues/default/tasks/a")
    headers = dict(shown.pop("headers"))
    assert base64.b64decode(shown.pop("payload")) == b"\x00\xff"
    assert shown == listed
    assert headers == {"X-Own": "1", "host": f"default.{HOSTNAME}"}


async def test_a_task_with_odd_bytes_is_shown(state: State) -> None:
    """Header values and URLs that are not UTF-8 are no reason to fail."""
    message = add_request("a", due_in=60, now=state.clock.start, url=b"/\xe4")
    message.header.add(key=b"X-Own", value=b"\xe4")
    await state.api.bulk_add([message])
    assert (await state.queue())["tasks"][0]["url"] == "/\ufffd"
    shown = await state.get("/queues/default/tasks/a")
    assert shown["headers"][0] == ["X-Own", "\ufffd"]


async def test_executions_of_the_last_hour_are_counted(state: State) -> None:
    """Failed ones too."""
    state.app.answers(500)
    await state.add("a")
    await state.advance(60)
    assert (await state.queue())["executed_last_hour"] == 2
    await state.advance(3601)
    assert (await state.queue())["executed_last_hour"] == 0


async def test_a_running_task_is_marked(state: State) -> None:
    """And what has failed has its counts."""
    gate = asyncio.Event()

    async def hold() -> int:
        await gate.wait()
        return 500

    state.app.answers(500, hold())
    await state.add("a")
    advance = asyncio.create_task(state.advance(0.1))
    await until(lambda: len(state.app.executions) == 2)
    (task,) = (await state.queue())["tasks"]
    assert (task["running"], task["retry_count"]) == (True, 1)
    gate.set()
    await advance
    (task,) = (await state.queue())["tasks"]
    assert (task["running"], task["retry_count"]) == (False, 2)
    assert task["execution_count"] == 2
    assert task["due_in"] == pytest.approx(0.2, abs=0.01)


class MakesFolder:
    """Its pickle makes a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


async def test_a_payload_is_never_unpickled(state: State, tmp_path: Path) -> None:
    """A hostile pickle is listed, shown, run and deleted, and does nothing here."""
    made = tmp_path / "made"
    payload = pickle.dumps(MakesFolder(made))
    await state.add("a", 60, body=payload)
    await state.add("b", 60, body=payload)
    (task, _) = (await state.queue())["tasks"]
    assert task["function"] == f"{os.mkdir.__module__}.mkdir"
    await state.get("/queues/default/tasks/a")
    await state.post("/queues/default/tasks/a/run")
    await until(lambda: state.runner.finished)
    await state.ask("DELETE", "/queues/default/tasks/b")
    assert not made.exists()
    pickle.loads(payload)
    assert made.exists(), "the payload was not hostile"


async def test_a_payload_that_is_no_pickle_is_shown(state: State) -> None:
    """Its function is null."""
    for name, body in (("a", b""), ("b", b"garbage"), ("c", b"\x80\x04\x95\xff")):
        await state.add(name, 60, body=body)
    assert [task["function"] for task in (await state.queue())["tasks"]] == [None] * 3


# --- what can be done to queues ------------------------------------------------------


async def test_a_queue_is_paused_and_resumed(state: State) -> None:
    """While it is paused its tasks stay, whatever the clock says."""
    assert await state.post("/queues/default/pause") == {"paused": True}
    assert (await state.queue())["paused"] is True
    await state.add("a")
    assert (await state.advance(60))["tasks_run"] == 0
    assert await state.names() == ["a"]
    assert await state.post("/queues/default/resume") == {"paused": False}
    await until(lambda: state.runner.finished)
    assert await state.names() == []


async def test_a_queue_is_purged(state: State) -> None:
    """The tasks are gone, their names are tombstones."""
    for name in "abc":
        await state.add(name, 60)
    assert await state.post("/queues/default/purge") == {"purged": 3}
    assert await state.names() == []
    assert (await state.advance(120))["tasks_run"] == 0


async def test_a_task_is_run_now(state: State) -> None:
    """Without waiting for its ETA; the clock stays."""
    await state.add("a", 3600)
    await state.post("/queues/default/tasks/a/run")
    await until(lambda: state.runner.finished)
    assert state.app.names == ["a"]
    assert (await state.get("/clock"))["offset"] == 0
    assert await state.names() == []


async def test_a_task_is_deleted(state: State) -> None:
    """It does not run, and is unknown from then on."""
    await state.add("a", 60)
    path = "/queues/default/tasks/a"
    assert await state.ask("DELETE", path) == {"deleted": True}
    await state.ask("DELETE", path, status=404)
    assert (await state.advance(120))["tasks_run"] == 0


# --- the clock -----------------------------------------------------------------------


async def test_the_clock_is_shown(state: State) -> None:
    """The time in seconds since the epoch, and how far it is ahead."""
    start = state.clock.start
    assert await state.get("/clock") == {"now": start, "offset": 0}
    await state.advance(1.5)
    assert await state.get("/clock") == {"now": start + 1.5, "offset": 1.5}


async def test_the_clock_is_advanced(state: State) -> None:
    """The answer comes when all that is due by then has run, and says how many."""
    for due_in in (10, 60, 61):
        await state.add(due_in=due_in)
    answer = await state.advance(60)
    assert answer == {"now": state.clock.start + 60, "offset": 60, "tasks_run": 2}
    assert state.app.times == [10, 60]


async def test_the_clock_is_advanced_to_the_next_task(state: State) -> None:
    """Not further; and not at all where no task waits."""
    await state.add("a", 60)
    await state.add("b", 90)
    answer = await state.post("/clock/advance", {"to": "next_task"})
    assert (answer["offset"], answer["tasks_run"]) == (60, 1)
    await state.post("/clock/advance", {"to": "next_task"})
    answer = await state.post("/clock/advance", {"to": "next_task"})
    assert (answer["offset"], answer["tasks_run"]) == (90, 0)


async def test_an_advance_of_nothing_runs_what_is_due(state: State) -> None:
    """`{"seconds": 0}` waits until that has finished."""
    for _ in range(5):
        await state.add()
    await state.advance(0)
    assert len(state.app.names) == 5
    assert await state.names() == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{}",
        b"[]",
        b"60",
        b'{"seconds": -1}',
        b'{"seconds": -1e-9}',
        b'{"seconds": NaN}',
        b'{"seconds": Infinity}',
        b'{"seconds": 1e400}',
        b'{"seconds": 1e12}',
        b'{"seconds": 1' + b"0" * 400 + b"}",
        b'{"seconds": "60"}',
        b'{"seconds": true}',
        b'{"seconds": null}',
        b'{"seconds": [60]}',
        b'{"to": "next"}',
        b'{"to": "next_task", "seconds": "x"}',
        b'{"seconds": 60',
        b"seconds=60",
        b"\xff\xfe\xff",
        b"[" * 100_000,
    ],
)
async def test_a_bad_advance_is_refused(state: State, body: bytes) -> None:
    """400 with the reason; the clock stays."""
    await state.add("a", 60)
    answer = await state.ask("POST", "/clock/advance", data=body, status=400)
    assert "body" in answer["error"]
    assert state.clock.offset == 0
    assert state.app.names == []


async def test_json_is_utf_8_whatever_the_header_says(state: State) -> None:
    """So says RFC 8259; a `charset` is ignored, also one that does not exist."""
    headers = {"Content-Type": "application/json; charset=nosuch"}
    async with state.session.post(
        "/clock/advance", data=b'{"seconds": 1}', headers=headers
    ) as answer:
        assert answer.status == 200
    assert state.clock.offset == 1


async def test_an_advance_says_why_tasks_cannot_run(state: State) -> None:
    """503 with the reason while the app does not run; the task stays."""
    state.app.failure = "the app has a syntax error"
    await state.add("a")
    answer = await state.post("/clock/advance", {"seconds": 60}, status=503)
    assert "syntax error" in answer["error"]
    assert await state.names() == ["a"]


# --- entities ------------------------------------------------------------------------


async def test_entities_are_listed(state: State) -> None:
    """Of one kind, with key, urlsafe key and properties."""
    await state.api.put(reference("Counter", "x"), 30)
    await state.api.put(reference("Counter", "x", "Counter", 7), 4)
    await state.api.put(reference("Other", "x"), 1)
    entities = (await state.get("/entities?kind=Counter"))["entities"]
    assert [entity["key"] for entity in entities] == [
        [["Counter", "x"]],
        [["Counter", "x"], ["Counter", 7]],
    ]
    assert [entity["properties"] for entity in entities] == [
        {"count": 30},
        {"count": 4},
    ]
    assert datastore.Key(entities[1]["urlsafe"]).id() == 7
    assert await state.get("/entities?kind=NoSuch") == {"entities": []}


async def test_entities_of_a_namespace_are_listed(state: State) -> None:
    """A namespace is asked for by name; without one it is the empty one."""
    await state.api.put(reference("Counter", "x", namespace="tenant"), 1)
    assert await state.get("/entities?kind=Counter") == {"entities": []}
    answer = await state.get("/entities?kind=Counter&namespace=tenant")
    assert [entity["properties"] for entity in answer["entities"]] == [{"count": 1}]


async def test_all_entities_are_listed(state: State) -> None:
    """Not only the first batch of the query."""
    for number in range(1, 151):
        await state.api.put(reference("Counter", number), number)
    entities = (await state.get("/entities?kind=Counter"))["entities"]
    assert [entity["properties"]["count"] for entity in entities] == [*range(1, 151)]


async def test_properties_that_json_lacks_are_shown_as_text(state: State) -> None:
    """Dates, keys, bytes and NaN do not make the list fail."""
    entity = datastore.Entity("Odd", name="x")
    entity["no number"] = [1.5, math.nan]
    entity["when"] = datetime.datetime(2026, 1, 2, 3, 4, 5)
    entity["key"] = datastore.Key.from_path("Counter", "x")
    entity["many"] = ["a", "b"]
    entity["nothing"] = None
    entity["ratio"] = 0.5
    datastore.Put(entity)
    (shown,) = (await state.get("/entities?kind=Odd"))["entities"]
    assert shown["properties"]["when"] == "2026-01-02 03:04:05"
    assert shown["properties"]["many"] == ["a", "b"]
    assert shown["properties"]["nothing"] is None
    assert shown["properties"]["ratio"] == 0.5
    assert shown["properties"]["no number"] == [1.5, "nan"]
    assert isinstance(shown["properties"]["key"], str)


@pytest.mark.parametrize(
    "query", ["", "?kind=", "?namespace=x", "?kind=X&namespace=not%20valid"]
)
async def test_a_bad_question_for_entities_is_refused(state: State, query: str) -> None:
    """400 with the reason."""
    answer = await state.get(f"/entities{query}", status=400)
    assert answer["error"]


# --- reset ---------------------------------------------------------------------------


async def test_what_a_running_task_writes_does_not_outlive_a_reset(
    state: State,
) -> None:
    """The reset waits for the task, or its entity would be found afterwards."""
    gate = asyncio.Event()

    async def write_late() -> int:
        await gate.wait()
        await state.api.put(reference("Counter", "late"), 10)
        return 200

    state.app.answers(write_late())
    await state.add("a")
    await until(lambda: state.app.running)
    reset = asyncio.create_task(state.ask("POST", "/reset"))
    await until(lambda: not state.server.services.taskqueue.queues()["default"].Count())
    gate.set()
    await reset
    assert (await state.get("/entities?kind=Counter")) == {"entities": []}


async def test_a_reset_drops_what_waits_for_the_app(state: State) -> None:
    """A task that was due while the app did not run is not run afterwards."""
    state.app.failure = "the app has a syntax error"
    await state.add("a")
    await state.post("/clock/advance", {"seconds": 0}, status=503)
    await state.post("/reset")
    state.app.failure = None
    await state.advance(60)
    assert state.app.executions == []


async def test_a_reset_is_like_a_new_start(make_state: Callable[..., Any]) -> None:
    """Entities, tasks, tombstones, pauses and the clock are as at the start."""
    state = await make_state(
        QueueConfig("pull", mode="pull"), QueueConfig("slow", rate=0.001, bucket_size=1)
    )
    await state.api.put(reference("Counter", "x"), 30)
    await state.add("a")
    await state.add("s", queue="slow")
    await state.advance(3600)
    assert sorted(state.app.names) == ["a", "s"]
    await state.add("b", 60)
    await state.add("c", queue="pull", mode=PULL)
    await state.post("/queues/default/pause")
    assert await state.post("/reset") == {}
    assert (await state.get("/clock"))["offset"] == 0
    for queue in (await state.get("/queues"))["queues"]:
        assert (queue["tasks"], queue["paused"]) == ([], False)
    assert await state.get("/entities?kind=Counter") == {"entities": []}
    # the name is no tombstone, and the bucket of the slow queue is full again
    await state.add("a")
    await state.add("s", queue="slow")
    await until(lambda: len(state.app.names) == 4)


# --- errors --------------------------------------------------------------------------

WRITES = [
    ("POST", "/queues/default/pause"),
    ("POST", "/queues/default/resume"),
    ("POST", "/queues/default/purge"),
    ("POST", "/queues/default/tasks/a/run"),
    ("DELETE", "/queues/default/tasks/a"),
    ("POST", "/clock/advance"),
    ("POST", "/reset"),
]


@pytest.mark.parametrize(("method", "path"), WRITES)
@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/json-patch+json",
    ],
)
async def test_a_write_needs_json(
    state: State, method: str, path: str, content_type: str | None
) -> None:
    """415 for what a web page of another origin could send without asking."""
    await state.add("a", 60)
    headers = {"Content-Type": content_type} if content_type else {}
    async with state.session.request(
        method,
        path,
        data=b'{"seconds": 120}',
        headers=headers,
        skip_auto_headers=["Content-Type"],
    ) as answer:
        assert answer.status == 415
        assert "application/json" in (await answer.json())["error"]
    assert await state.names() == ["a"]
    assert (await state.queue())["paused"] is False
    assert state.clock.offset == 0


@pytest.mark.parametrize(("method", "path"), WRITES)
@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({TOKEN_HEADER: ""}, TOKEN_HEADER),
        ({TOKEN_HEADER: "0" * 32}, TOKEN_HEADER),
        ({TOKEN_HEADER: "é"}, TOKEN_HEADER),
        ({"Origin": "http://elsewhere.test"}, "'http://elsewhere.test'"),
        ({"Origin": "http://127.0.0.1:1"}, "'http://127.0.0.1:1'"),
        ({"Origin": "null"}, "'null'"),
    ],
)
async def test_a_write_of_a_stranger_is_refused(
    state: State, method: str, path: str, headers: dict[str, str], words: str
) -> None:
    """403 without this run's token, and for web pages of other origins."""
    await state.add("a", 60)
    async with state.session.request(
        method, path, data=b'{"seconds": 120}', headers=JSON_TYPE | headers
    ) as answer:
        assert answer.status == 403
        assert words in (await answer.json())["error"]
    assert await state.names() == ["a"]
    assert (await state.queue())["paused"] is False
    assert state.clock.offset == 0


async def test_bytes_that_are_no_text_are_no_token(
    state: State, caplog: pytest.LogCaptureFixture
) -> None:
    """403 as for any other, without a fault of the server."""
    head = (
        "POST /queues/default/pause HTTP/1.1\r\nHost: localhost\r\n"
        "Connection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: 2\r\n{TOKEN_HEADER}: "
    )
    port = state.session._base_url.port  # type: ignore[union-attr]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.encode() + b"\xff\r\n\r\n{}")
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert "Traceback" not in caplog.text


async def test_a_write_of_the_own_origin(state: State) -> None:
    """A page that the state port itself has served may write, with the token."""
    origin = str(state.session._base_url).rstrip("/")
    async with state.session.post(
        "/queues/default/pause", data=b"{}", headers=JSON_TYPE | {"Origin": origin}
    ) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_question_for_another_host_is_refused(
    state: State, method: str
) -> None:
    """421: a web page that gives its name this address could read the answer."""
    async with state.session.request(
        method, "/queues", headers=JSON_TYPE | {"Host": "elsewhere.test"}
    ) as answer:
        assert answer.status == 421
        assert "elsewhere.test" in (await answer.json())["error"]


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("GET", "/queues/nosuch/tasks/a", "no queue 'nosuch'"),
        ("POST", "/queues/nosuch/pause", "no queue 'nosuch'"),
        ("POST", "/queues/nosuch/resume", "no queue 'nosuch'"),
        ("POST", "/queues/nosuch/purge", "no queue 'nosuch'"),
        ("POST", "/queues/nosuch/tasks/a/run", "no queue 'nosuch'"),
        ("DELETE", "/queues/nosuch/tasks/a", "no queue 'nosuch'"),
        ("GET", "/queues/default/tasks/b", "no task 'b' in the queue 'default'"),
        ("POST", "/queues/default/tasks/b/run", "no task 'b'"),
        ("DELETE", "/queues/default/tasks/b", "no task 'b'"),
        # the stub finds a task by the beginning of its place in the list
        ("GET", "/queues/default/tasks/A", "no task 'A'"),
    ],
)
async def test_an_unknown_queue_or_task_is_named(
    state: State, method: str, path: str, words: str
) -> None:
    """404, and the error says which of the two."""
    await state.add("a", 60)
    answer = await state.ask(method, path, status=404)
    assert words in answer["error"]
    assert await state.names() == ["a"]


@pytest.mark.parametrize("path", ["/", "/nosuch", "/queues/", "/queues/default"])
async def test_an_unknown_path_is_answered_as_json(state: State, path: str) -> None:
    """404, in the form of every other error, with the method and the path."""
    error = (await state.get(path, status=404))["error"]
    assert f" GET {path}." in error


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/queues", {"GET", "HEAD"}),
        ("GET", "/clock/advance", {"POST"}),
        ("PUT", "/queues/default/tasks/a", {"GET", "HEAD", "DELETE"}),
    ],
)
async def test_a_wrong_method_is_answered_as_json(
    state: State, method: str, path: str, allowed: set[str]
) -> None:
    """405, and which methods there are."""
    async with state.session.request(
        method, path, data=b"{}", headers=JSON_TYPE
    ) as answer:
        assert answer.status == 405
        assert set(answer.headers["Allow"].replace(" ", "").split(",")) == allowed
        assert "error" in await answer.json()
