"""The State API, called over HTTP."""

import asyncio
import base64
import contextlib
import datetime
import json
import pickle
import time
import zoneinfo
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from google.appengine.api import datastore, datastore_types, queueinfo
from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as pb
from google.appengine.ext import deferred
from google.appengine.runtime import apiproxy_errors

from gae_devserver.config import schedule
from gae_devserver.config.cron_yaml import CronJob
from gae_devserver.config.index_yaml import load_index_yaml
from gae_devserver.config.queue_yaml import QueueConfig
from gae_devserver.http.server import TOKEN_HEADER
from gae_devserver.rpc.errors import NotFoundError
from tests.helpers.calls import HOSTNAME, PULL, add_request, application, reference
from tests.helpers.cloud_tasks import FULL, QUEUE, app_task, call, rpcs_on, task_name
from tests.helpers.waiting import settled, until
from tests.unit.console.conftest import JSON_TYPE, State

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("adds", ["bundled", "cloud"])
@pytest.mark.parametrize("deletes", ["bundled", "cloud", "state"])
async def test_a_task_is_the_same_in_each_api(
    state: State, adds: str, deletes: str
) -> None:
    """In the bundled API, in Cloud Tasks and here, whichever adds or deletes it."""
    rpcs = rpcs_on(state.server.services, state.clock, state.runner.run_now)
    path, name = "/queues/default/tasks/a", task_name("a")
    await state.runner.advance(7)
    due = int(state.clock.start) + 60
    if adds == "bundled":
        retries = {"retry_limit": 2, "min_backoff_sec": 5}
        await state.add("a", 60, body=b"x", retry_parameters=retries)
    else:
        task = app_task(
            "a",
            app_engine_http_request={"relative_uri": "/work", "body": b"x"},
            schedule_time={"seconds": due},
            retry_config={"max_attempts": 3, "min_backoff": {"seconds": 5}},
        )
        await call(rpcs, "CreateTask", parent=QUEUE, task=task)

    shown = await state.get(path)
    (bundled,) = await state.api.tasks()
    cloud = await call(rpcs, "GetTask", name=name, response_view=FULL)
    request = cloud.app_engine_http_request
    assert (shown["method"], shown["url"], shown["eta"]) == ("POST", "/work", due)
    assert base64.b64decode(shown["payload"]) == request.body == bundled.body == b"x"
    assert (request.http_method, request.relative_uri) == (1, "/work")
    assert (bundled.method, bundled.url) == (bundled.POST, b"/work")
    assert cloud.schedule_time.seconds == due
    assert cloud.retry_config.max_attempts == 3
    assert bundled.retry_parameters.retry_limit == 2
    assert cloud.retry_config.min_backoff.seconds == 5

    if deletes == "bundled":
        delete = pb.TaskQueueDeleteRequest(queue_name=b"default", task_name=[b"a"])
        await state.api.call("taskqueue", "Delete", delete)
    elif deletes == "cloud":
        await call(rpcs, "DeleteTask", name=name)
    else:
        await state.ask("DELETE", path)
    await state.get(path, status=404)
    assert await state.api.names() == []
    with pytest.raises(NotFoundError):
        await call(rpcs, "GetTask", name=name)
    assert (await state.advance(120))["tasks_run"] == 0


# --- queues --------------------------------------------------------------------------

EMPTY_QUEUE: dict[str, Any] = {
    "mode": "push",
    "rate": None,
    "bucket_size": 5,
    "max_concurrent_requests": None,
    "paused": False,
    "executed_last_hour": 0,
    "dropped": 0,
    "running": 0,
    "task_count": 0,
    "tasks": [],
}
NEW_TASK = {
    "method": "POST",
    "retry_count": 0,
    "execution_count": 0,
    "function": None,
    "size": 0,
    "running": False,
    "service": "default",
}


async def test_the_queues_are_listed(make_state: Callable[..., Any]) -> None:
    """All queues of queue.yaml, with their settings."""
    state = await make_state(
        QueueConfig("fast", rate=2.5, bucket_size=7, max_concurrent_requests=3),
        QueueConfig("pull", mode="pull"),
    )
    fast = {"rate": 2.5, "bucket_size": 7, "max_concurrent_requests": 3}
    assert (await state.get("/queues"))["queues"] == [
        EMPTY_QUEUE | {"name": "default"},
        EMPTY_QUEUE | {"name": "fast", **fast},
        EMPTY_QUEUE | {"name": "pull", "mode": "pull"},
    ]


async def test_the_queues_of_cloud_tasks(make_state: Callable[..., Any]) -> None:
    """Those of queue.yaml, also if they are gone from it, and those of the API."""
    state = await make_state(QueueConfig("gone"), QueueConfig("pull", mode="pull"))
    rpcs = rpcs_on(state.server.services, state.clock, state.runner.run_now)
    target = {"uri_override": {"host": "localhost"}}
    queue = {"name": f"{QUEUE}-api", "http_target": target}
    queue["retry_config"] = {"max_attempts": 3}
    await call(rpcs, "CreateQueue", parent=QUEUE.rpartition("/queues/")[0], queue=queue)
    await state.add("a", 60, queue="gone")
    state.configure()
    await state.post("/queues/default/pause")
    default, api, gone = (await state.get("/cloud_tasks"))["queues"]
    assert (default["state"], default["made_by"]) == ("PAUSED", "queue.yaml")
    assert (api["state"], api["made_by"]) == ("RUNNING", "API")
    assert api["retry_config"]["max_attempts"] == 3
    assert api["http_target"] == target
    assert (gone["state"], gone["task_count"]) == ("DISABLED", 1)
    assert (await state.get("/queues/gone"))["disabled"]
    async with state.session.get("/queues", headers={"Accept": "text/html"}) as answer:
        assert "no longer in queue.yaml" in await answer.text()
    await state.post("/queues/gone/resume")
    await state.advance(60)
    assert state.app.names == ["a"]


async def test_the_tasks_are_listed_in_the_order_of_their_etas(state: State) -> None:
    """The ETA is in the app's time, and `due_in` in the server's, after an advance."""
    await state.advance(1000)
    body = deferred.serialize(time.monotonic)
    await state.add("b", 60, body=body, url=b"/_ah/queue/deferred")
    await state.add("a", 30, method=2, url=b"/work?x=1")
    await state.advance(10)
    # The app's clock stood still while the server's advanced by 10 s.
    eta = state.clock.start - 10
    deferred_task = {"function": "time.monotonic", "size": len(body)}
    assert (await state.listed())["tasks"] == [
        NEW_TASK | {"name": "a", "url": "/work?x=1", "eta": eta + 30, "due_in": 20},
        NEW_TASK
        | {"name": "b", "url": "/_ah/queue/deferred", "eta": eta + 60, "due_in": 50}
        | deferred_task,
    ]


async def test_a_task_is_shown_with_headers_and_payload(state: State) -> None:
    """Bytes that are not UTF-8 are replaced in the URL and headers."""
    message = add_request("a", due_in=60, now=state.clock.start, url=b"/\xe4")
    message.body = b"\x00\xff"
    message.header.add(key=b"X-Own", value=b"\xe4")
    await state.api.bulk_add([message])
    (listed,) = (await state.listed())["tasks"]
    assert listed["url"] == "/\ufffd"
    shown = await state.get("/queues/default/tasks/a")
    headers = {"X-Own": "\ufffd", "host": f"default.{HOSTNAME}"}
    assert dict(shown.pop("headers")) == headers
    assert base64.b64decode(shown.pop("payload")) == b"\x00\xff"
    call: dict[str, Any] = dict.fromkeys(
        ("call", "arguments", "object", "stored_at", "unreadable")
    )
    content: dict[str, Any] = {
        "kind": "binary",
        "text": "0000  00 ff" + " " * 44 + "..",
    }
    content |= {"fields": [], "is_cut": False}
    more: dict[str, Any] = {"attempts": [], "added_by": None, "content": content}
    assert shown == listed | call | more


async def test_a_running_task_is_marked(state: State) -> None:
    """A task that failed has its counts, and its executions are counted."""
    release = state.hold(500, 500)
    await state.add("a")
    await until(lambda: state.app.running)
    (task,) = (await state.listed())["tasks"]
    assert (task["running"], task["retry_count"]) == (True, 0)
    release.set()
    await state.advance(0.1)
    queue = await state.listed()
    (task,) = queue["tasks"]
    assert (task["running"], task["retry_count"]) == (False, 2)
    assert task["execution_count"] == queue["executed_last_hour"] == 2
    assert task["due_in"] == pytest.approx(0.2, abs=0.01)


async def test_a_payload_is_never_unpickled(state: State, tmp_path: Path) -> None:
    """A hostile pickle is listed, shown, run and deleted, and does nothing here."""
    made = tmp_path / "made"
    payload = f"cos\nmkdir\n(V{made}\ntR.".encode()
    for name in "ab":
        await state.add(name, 60, body=payload)
    assert (await state.listed())["tasks"][0]["function"] == "os.mkdir"
    await state.get("/queues/default/tasks/a")
    await state.post("/queues/default/tasks/a/run")
    await until(lambda: state.runner.finished)
    await state.ask("DELETE", "/queues/default/tasks/b")
    assert not made.exists()
    pickle.loads(payload)
    assert made.exists(), "the payload was not hostile"


async def test_a_page_of_tasks(state: State) -> None:
    """Tasks come in the order of their ETAs, with payloads, a page at a time."""
    for due_in in (30, 10, 20):
        await state.add(f"at-{due_in}", due_in, body=b"x")
    path = "/queues/default/tasks?limit=2"
    first = await state.get(path)
    assert [task["name"] for task in first["tasks"]] == ["at-10", "at-20"]
    assert base64.b64decode(first["tasks"][0]["payload"]) == b"x"
    await state.ask("DELETE", "/queues/default/tasks/at-20")
    last = await state.get(f"{path}&cursor={first['cursor']}")
    assert [task["name"] for task in last["tasks"]] == ["at-30"]
    assert last["cursor"] is None
    for wrong in ("limit=0", "limit=1001", "limit=x", "cursor=x"):
        error = await state.get(f"/queues/default/tasks?{wrong}", status=400)
        assert wrong.partition("=")[0] in error["error"]


@pytest.mark.parametrize("size", [1, 20_000])
async def test_an_answer_has_a_limited_number_of_tasks(
    make_state: Callable[..., Any], size: int
) -> None:
    """However many tasks there are, and however large they are."""
    state = await make_state(QueueConfig("other"))
    for queue in ("default", "other"):
        await state.api.bulk_add(
            add_request(f"{queue}-{number}", queue=queue, due_in=60, body=b"x" * size)
            for number in range(600)
        )
    default, other = (await state.get("/queues"))["queues"]
    assert [len(queue["tasks"]) for queue in (default, other)] == [600, 400]
    assert [queue["task_count"] for queue in (default, other)] == [600, 600]
    page = await state.get("/queues/default/tasks")
    assert len(page["tasks"]) == (600 if size == 1 else 53)


# --- changes to queues ---------------------------------------------------------------


async def test_a_task_is_run_now_deleted_or_purged(state: State) -> None:
    """A task runs before its ETA, or never; the clock stays."""
    for name in "ab":
        await state.add(name, 3600)
    await state.post("/queues/default/tasks/a/run")
    await until(lambda: state.runner.finished)
    path = "/queues/default/tasks/b"
    assert await state.ask("DELETE", path) == {"deleted": True}
    await state.ask("DELETE", path, status=404)
    await state.add("c", 3600)
    assert await state.post("/queues/default/purge") == {"purged": 1}
    assert await state.post("/queues/default/resume") == {"paused": False}
    assert state.clock.offset == 0
    assert (await state.advance(7200))["tasks_run"] == 0
    assert state.app.names == ["a"]


# --- the timeline ------------------------------------------------------------------


async def test_the_timeline(make_state: Callable[..., Any]) -> None:
    """It has the first tasks of all queues, and the last executions."""
    state = await make_state(QueueConfig("default"), QueueConfig("other"))
    state.app.answers(200, 500)
    await state.add("now")
    await until(lambda: state.runner.finished)
    await state.add("later", 60, queue="other")
    await state.advance()
    for name, due_in in (("b", 70), ("a", 50)):
        await state.add(name, due_in)
    shown = await state.get("/")
    assert shown["now"] == state.clock.now()
    assert [task["name"] for task in shown["tasks"]] == ["later", "a", "b"]
    assert [task["queue"] for task in shown["tasks"]] == ["other", "default", "default"]
    ran = [(one["name"], one["outcome"]) for one in shown["attempts"]]
    assert ran == [("later", "failed"), ("now", "done")]
    assert (shown["tasks_omitted"], shown["attempts_omitted"]) == (0, 0)


async def test_the_timeline_is_limited(state: State) -> None:
    """It says how many tasks and executions it leaves out."""
    for number in range(150):
        await state.add(f"now{number}")
        await state.add(f"later{number}", 3600)
    await until(lambda: state.runner.finished == 150)
    shown = await state.get("/")
    for kind in ("tasks", "attempts"):
        assert (len(shown[kind]), shown[f"{kind}_omitted"]) == (100, 50)


# --- the clock -----------------------------------------------------------------------


async def test_the_clock_is_advanced(state: State) -> None:
    """The answer comes when every task due by then has run, and says how many."""
    start = state.clock.start
    for due_in in (0, 10, 60, 61):
        await state.add(due_in=due_in)
    assert await state.get("/clock") == {"now": start, "offset": 0}
    await state.advance(0)
    assert state.app.times == [0]
    answer = await state.advance(60.5)
    clock = {"now": start + 60.5, "offset": 60.5}
    assert answer == clock | {"tasks_run": 2, "failed": [], "failed_omitted": 0}
    assert state.app.times == [0, 10, 60]
    assert await state.get("/clock") == clock


@pytest.mark.parametrize("zone", ["", "Z", "+00:00"])
async def test_the_clock_is_advanced_to_a_time(state: State, zone: str) -> None:
    """The time is in UTC, unless it says another zone; the answer has what failed."""
    state.app.answers(500)
    await state.add("a", 60, retry_parameters={"retry_limit": 0})
    moment = datetime.datetime.fromtimestamp(state.clock.start + 90, datetime.UTC)
    body = json.dumps({"to": f"{moment:%Y-%m-%dT%H:%M:%S}{zone}"}).encode()
    answer = await state.ask("POST", "/clock/advance", body)
    assert (answer["offset"], answer["tasks_run"]) == (90, 1)
    failed = [(one["queue"], one["name"], one["outcome"]) for one in answer["failed"]]
    assert failed == [("default", "a", "dropped")]
    assert (await state.get("/"))["last_advance"] == answer


@pytest.mark.parametrize(
    ("time", "fact"),
    [("2001-01-01T00:00", "past"), ("9999-12-31T00:00:00Z", "far"), ("noon", "noon")],
)
async def test_a_time_that_cannot_be_reached(
    state: State, time: str, fact: str
) -> None:
    """The error says why, and the clock stays where it is."""
    body = json.dumps({"to": time}).encode()
    error = await state.ask("POST", "/clock/advance", body, status=400)
    assert fact in error["error"]
    assert state.clock.offset == 0


async def test_the_clock_is_advanced_to_the_next_task(state: State) -> None:
    """The clock goes to the next task's ETA, and stays where no task waits."""
    await state.add("a", 60)
    await state.add("b", 90)
    steps = [await state.advance() for _ in range(3)]
    found = [(step["offset"], step["tasks_run"]) for step in steps]
    assert found == [(60, 1), (90, 1), (90, 0)]


@pytest.mark.parametrize(
    ("path", "status"),
    [("/clock/advance", 200), ("/clock/advance", 500), ("/run_next_task", 200)],
)
async def test_tasks_that_never_end(
    make_state: Callable[..., Any], path: str, status: int
) -> None:
    """The advance ends with an error that counts and names them.

    Whether each adds another one, or it fails and is retried at once.
    """
    state = await make_state(runner={"max_runs": 30})

    async def answer() -> int:
        if status == 200:
            await state.add(url=b"/again")
        return status

    state.app.answer = lambda execution: answer()
    retries = {"min_backoff_sec": 0, "max_backoff_sec": 0}
    await state.add(due_in=10, url=b"/again", retry_parameters=retries)
    body = {"seconds": 60} if path == "/clock/advance" else {}
    error = await state.ask("POST", path, json.dumps(body).encode(), status=409)
    assert error["tasks_run"] > 30
    assert "/again" in error["error"]
    state.app.answers()
    await state.advance(60)
    assert state.clock.elapsed() >= 60


async def test_tasks_run_one_by_one(state: State) -> None:
    """Each execution is reported once, also one that began before it was asked for."""
    state.app.answers(200, 500)
    await state.add("now")
    await until(lambda: state.runner.finished)
    await state.add("later", 60, body=b"x")
    runs = [(await state.post("/run_next_task"))["task"] for _ in range(4)]
    assert runs.pop() is None
    found = [(run["name"], run["status"], run["retry_count"]) for run in runs]
    assert found == [("now", 200, 0), ("later", 500, 0), ("later", 200, 1)]
    assert (runs[1]["queue"], runs[1]["payload"]) == ("default", "eA==")
    await state.add("seen")
    await state.advance(0)
    assert await state.post("/run_next_task") == {"task": None}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"seconds": -1e-9}',
        b'{"seconds": NaN}',
        b'{"seconds": Infinity}',
        b'{"seconds": 1e12}',
        b'{"seconds": 1' + b"0" * 400 + b"}",
        b'{"seconds": "60"}',
        b'{"seconds": true}',
        b'{"to": "next"}',
        b'{"to": "next_task", "seconds": "x"}',
        b'{"seconds": 60',
        b"\xff\xfe\xff",
        b"[" * 100_000,
    ],
)
async def test_a_bad_advance_is_refused(state: State, body: bytes) -> None:
    """400 with the reason; the clock stays."""
    await state.add("a", 60)
    answer = await state.ask("POST", "/clock/advance", body, status=400)
    assert "body" in answer["error"]
    assert state.clock.offset == 0
    assert state.app.names == []


async def test_json_is_utf_8_whatever_the_header_says(state: State) -> None:
    """RFC 8259 has no `charset`; one that does not exist is ignored too."""
    headers = {"Content-Type": "application/json; charset=nosuch"}
    await state.send("POST", "/clock/advance", b'{"seconds": 1}', headers)
    assert state.clock.offset == 1


async def test_an_advance_says_why_tasks_cannot_run(state: State) -> None:
    """503 with the reason while the app does not run; the task stays."""
    state.app.fail("the app has a syntax error")
    await state.add("a")
    answer = await state.advance(60, status=503)
    assert "syntax error" in answer["error"]
    assert await state.names() == ["a"]


# --- indexes -------------------------------------------------------------------------


async def test_indexes_are_listed(state: State, tmp_path: Path) -> None:
    """The text has the missing ones, and is a whole file if there is none."""
    assert await state.get("/indexes") == {"existing": [], "missing": [], "yaml": ""}
    query = datastore.Query("A")
    query.Order("x", ("y", datastore.Query.DESCENDING))
    query.Get(1)
    listed = await state.get("/indexes")
    properties = [("x", "asc"), ("y", "desc")]
    shown = [{"name": name, "direction": way} for name, way in properties]
    index = {"kind": "A", "ancestor": False, "properties": shown}
    assert (listed["existing"], listed["missing"]) == ([], [{**index, "queries": 1}])
    (tmp_path / "index.yaml").write_text(listed["yaml"])
    indexes = load_index_yaml(tmp_path / "index.yaml")
    state.server.services.apply(application(indexes=indexes))
    expected = {"existing": [index], "missing": [], "yaml": ""}
    assert await state.get("/indexes") == expected


# --- entities ------------------------------------------------------------------------


async def test_entities_are_listed(state: State) -> None:
    """The list has the entities of a kind and namespace, with keys and properties."""
    await state.api.put(reference("Counter", "x"), 30)
    await state.api.put(reference("Counter", "x", "Counter", 7), 4)
    await state.api.put(reference("Counter", "x", namespace="tenant"), 1)
    await state.api.put(reference("Other", "x"), 1)
    first, second = (await state.get("/entities?kind=Counter"))["entities"]
    assert first["key"] == [["Counter", "x"]]
    assert second["key"] == [["Counter", "x"], ["Counter", 7]]
    assert datastore.Key(second["urlsafe"]).id() == 7
    assert (first["properties"], second["properties"]) == ({"count": 30}, {"count": 4})
    assert await state.properties("kind=Counter&namespace=tenant") == [{"count": 1}]
    assert await state.properties("kind=NoSuch") == []


@pytest.mark.parametrize("limit", ["", "&limit=40"])
async def test_entities_are_listed_in_pages(state: State, limit: str) -> None:
    """A page has at most a thousand entities, `limit` of them, or about 2 MiB."""
    for number in range(1, 151):
        await state.api.put(reference("Counter", number), number)
    big = datastore.Entity("Counter", name="big")
    big["text"] = datastore_types.Text("x" * 900_000)
    datastore.Put([big, *(copy_of(big, f"big-{number}") for number in range(5))])
    pages: list[Any] = []
    cursor = ""
    while not pages or pages[-1]["cursor"]:
        pages.append(await state.get(f"/entities?kind=Counter{limit}{cursor}"))
        cursor = f"&cursor={pages[-1]['cursor']}"
    found = [entity["key"][0][1] for page in pages for entity in page["entities"]]
    assert found == [*range(1, 151), "big", *(f"big-{number}" for number in range(5))]
    sizes = [len(page["entities"]) for page in pages]
    assert sizes == ([40, 40, 40, 33, 3] if limit else [153, 3])


def copy_of(entity: datastore.Entity, name: str) -> datastore.Entity:
    """Return an entity with the same properties and another name."""
    copy = datastore.Entity(entity.kind(), name=name)
    copy.update(entity)
    return copy


async def test_an_unexpected_error_is_json(
    state: State, caplog: pytest.LogCaptureFixture
) -> None:
    """500 with the type of the error, whose traceback is logged."""
    del state.server.services.taskqueue.queues()["default"].config  # as a fault would
    answer = await state.get("/queues", status=500)
    assert "AttributeError" in answer["error"]
    assert "Traceback" in caplog.text


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?kind=",
        "?namespace=x",
        "?kind=X&namespace=not%20valid",
        "?kind=X&limit=0",
        "?kind=X&limit=1001",
        "?kind=X&limit=%C2%B2",
        "?kind=X&cursor=a",
        "?kind=X&cursor=%FF",
        "?kind=X&cursor=aaaa",
    ],
)
async def test_a_bad_question_for_entities_is_refused(state: State, query: str) -> None:
    """400 with the reason."""
    answer = await state.get(f"/entities{query}", status=400)
    assert answer["error"]


# --- reset ---------------------------------------------------------------------------


async def test_what_a_running_task_writes_does_not_outlive_a_reset(
    state: State,
) -> None:
    """The reset waits for the task, whose tasks do not start meanwhile."""
    gate = asyncio.Event()

    async def write_late() -> int:
        await gate.wait()
        await state.api.put(reference("Counter", "late"), 10)
        await state.add("again")
        return 200

    state.app.answers(write_late())
    await state.add("a")
    await until(lambda: state.app.running)
    reset = asyncio.create_task(state.post("/reset"))
    await state.get("/clock")
    assert not reset.done()
    gate.set()
    await reset
    assert (await state.advance(60))["tasks_run"] == 0
    assert await state.properties("kind=Counter") == []


async def test_a_request_that_does_not_end_before_a_reset(
    make_state: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Its service gets a new process; a call that waits for a lock fails."""
    restarted: list[str] = []

    async def restart(services: Collection[str]) -> None:
        restarted.extend(sorted(services))

    state = await make_state(restart=restart, several=True, quiet_seconds=0.05)
    key = reference("Counter", "x")
    holder, other = (state.server.request(service=name) for name in ("api", "worker"))
    await holder.put(key, 1, await holder.begin())
    late = asyncio.create_task(other.put(key, 2))
    await settled()
    await state.post("/reset")
    assert restarted == ["api", "worker"]
    assert "(api, worker)" in caplog.text
    with pytest.raises(apiproxy_errors.ApplicationError, match="reset"):
        await late
    assert await state.properties("kind=Counter") == []
    assert len(state.server.requests) == 0


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
    assert await state.post("/queues/default/pause") == {"paused": True}
    assert (await state.listed())["paused"] is True
    assert await state.post("/reset") == {}
    assert (await state.get("/clock"))["offset"] == 0
    for queue in (await state.get("/queues"))["queues"]:
        assert (queue["tasks"], queue["paused"]) == ([], False)
        assert queue["executed_last_hour"] == 0
    assert await state.properties("kind=Counter") == []
    # The name is no tombstone, and the bucket of the slow queue is full again.
    await state.add("a")
    await state.add("s", queue="slow")
    await until(lambda: len(state.app.names) == 4)


# --- refusals ------------------------------------------------------------------------

CHANGES = [
    ("POST", "/queues/default/pause"),
    ("POST", "/queues/default/resume"),
    ("POST", "/queues/default/purge"),
    ("POST", "/queues/default/tasks/a/run"),
    ("DELETE", "/queues/default/tasks/a"),
    ("POST", "/clock/advance"),
    ("POST", "/run_next_task"),
    ("POST", "/reset"),
]


@pytest.mark.parametrize(("method", "path"), CHANGES)
@pytest.mark.parametrize(
    ("headers", "status", "words"),
    [
        ({}, 415, "application/json"),
        ({"Content-Type": "text/plain"}, 415, "application/json"),
        ({"Content-Type": "multipart/form-data"}, 415, "application/json"),
        ({"Content-Type": "application/json-patch+json"}, 415, "application/json"),
        (JSON_TYPE | {TOKEN_HEADER: ""}, 403, TOKEN_HEADER),
        (JSON_TYPE | {TOKEN_HEADER: "0" * 32}, 403, TOKEN_HEADER),
        (JSON_TYPE | {TOKEN_HEADER: "é"}, 403, TOKEN_HEADER),
        (JSON_TYPE | {"Origin": "http://elsewhere.test"}, 403, "http://elsewhere.test"),
        (JSON_TYPE | {"Origin": "http://127.0.0.1:1"}, 403, "http://127.0.0.1:1"),
        (JSON_TYPE | {"Origin": "null"}, 403, "null"),
    ],
)
async def test_a_change_by_a_stranger_is_refused(
    state: State,
    method: str,
    path: str,
    headers: dict[str, str],
    status: int,
    words: str,
) -> None:
    """415 without JSON, 403 without this run's token or from another web page."""
    await state.add("a", 60)
    answer, content = await state.send(method, path, b'{"seconds": 120}', headers)
    assert answer.status == status
    assert words in content["error"]
    assert await state.names() == ["a"]
    assert (await state.listed())["paused"] is False
    assert state.clock.offset == 0


async def test_a_change_from_the_own_origin(state: State) -> None:
    """A page of the state port itself may change things, with the token."""
    headers = JSON_TYPE | {"Origin": state.url}
    answer, _ = await state.send("POST", "/queues/default/pause", headers=headers)
    assert answer.status == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_question_for_another_host_is_refused(
    state: State, method: str
) -> None:
    """421: a web page that gives its name this address could read the answer."""
    headers = JSON_TYPE | {"Host": "elsewhere.test"}
    answer, content = await state.send(method, "/queues", headers=headers)
    assert answer.status == 421
    assert "elsewhere.test" in content["error"]


@pytest.mark.parametrize(
    ("method", "path", "unknown"),
    [
        ("GET", "/queues/nosuch/tasks/a", "queue 'nosuch'"),
        ("POST", "/queues/nosuch/pause", "queue 'nosuch'"),
        ("POST", "/queues/nosuch/resume", "queue 'nosuch'"),
        ("POST", "/queues/nosuch/purge", "queue 'nosuch'"),
        ("POST", "/queues/nosuch/tasks/a/run", "queue 'nosuch'"),
        ("DELETE", "/queues/nosuch/tasks/a", "queue 'nosuch'"),
        ("GET", "/queues/default/tasks/b", "task 'b' in the queue 'default'"),
        ("POST", "/queues/default/tasks/b/run", "task 'b'"),
        ("DELETE", "/queues/default/tasks/b", "task 'b'"),
        # The stub's own search would return the next name, "a".
        ("GET", "/queues/default/tasks/A", "task 'A'"),
    ],
)
async def test_an_unknown_queue_or_task_is_named(
    state: State, method: str, path: str, unknown: str
) -> None:
    """404, and the error says which of the two is unknown."""
    await state.add("a", 60)
    answer = await state.ask(method, path, status=404)
    assert unknown in answer["error"]
    assert await state.names() == ["a"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/nowhere", None),
        ("GET", "/queues/", None),
        ("POST", "/queues", {"GET", "HEAD"}),
        ("GET", "/clock/advance", {"POST"}),
        ("PUT", "/queues/default/tasks/a", {"GET", "HEAD", "DELETE"}),
    ],
)
async def test_a_route_that_does_not_exist_is_answered_as_json(
    state: State, method: str, path: str, allowed: set[str] | None
) -> None:
    """404, or 405 with the methods that the path has; the error names the route."""
    answer, content = await state.send(method, path)
    assert f"{method} {path}" in content["error"]
    if allowed is None:
        assert answer.status == 404
    else:
        assert answer.status == 405
        assert set(answer.headers["Allow"].replace(" ", "").split(",")) == allowed


# --- pages ---------------------------------------------------------------------------

CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("text/html;q=0.5, application/json", "application/json"),
        ("text/html;q=0", "application/json"),
        ("TEXT/HTML", "text/html"),
        (CHROME, "text/html"),
        ("text/html, application/json;q=0.9", "text/html"),
    ],
)
@pytest.mark.parametrize(("path", "status"), [("/", 200), ("/nowhere", 404)])
async def test_a_page_or_json(
    state: State, path: str, status: int, accept: str | None, content_type: str
) -> None:
    """A client that prefers HTML gets it, for errors too; all others get JSON."""
    headers = {} if accept is None else {"Accept": accept}
    async with state.session.get(path, headers=headers) as answer:
        assert (answer.status, answer.content_type) == (status, content_type)
        assert answer.headers["Vary"] == "Accept"
        policy = answer.headers["Content-Security-Policy"]
        assert "script-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("console.js", "text/javascript"),
        ("console.css", "text/css"),
        ("icon.svg", "image/svg+xml"),
    ],
)
async def test_a_file_of_the_page(state: State, name: str, content_type: str) -> None:
    """A browser asks for it each time, and gets it only after a change."""
    async with state.session.get(f"/static/{name}") as answer:
        assert answer.content_type == content_type
        assert answer.headers["Cache-Control"] == "no-cache"
        tag = answer.headers["ETag"]
    headers = {"If-None-Match": tag}
    async with state.session.get(f"/static/{name}", headers=headers) as answer:
        assert (answer.status, await answer.read()) == (304, b"")


async def test_events(state: State) -> None:
    """A change gives its subject another value, and leaves the other ones."""
    async with state.session.get("/events") as answer:

        async def next_state() -> Any:
            line = await answer.content.readline()
            assert await answer.content.readline() == b"\n"
            return json.loads(line.removeprefix(b"data: "))

        first = await next_state()
        await state.add("a", 60)
        second = await next_state()
        assert first["tasks"] != second["tasks"]
        assert first["clock"] == second["clock"]
        await state.advance(1)
        assert (await next_state())["clock"] != second["clock"]


async def test_too_many_pages_are_open(state: State) -> None:
    """One more is refused, until another one is closed."""
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        )
        url = f"{state.url}/events"
        answers: list[aiohttp.ClientResponse] = []
        while not answers or answers[-1].status == 200:
            answers.append(await session.get(url))
            stack.callback(answers[-1].close)
            assert len(answers) < 100
        assert answers[-1].status == 503
        answers[0].close()

        for _ in range(1000):
            async with session.get(url) as answer:
                if answer.status == 200:
                    return
            await asyncio.sleep(0.01)
        pytest.fail("a closed page still counts")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("destination", ["empty", "iframe", "script", "image"])
async def test_a_page_elsewhere_cannot_use_anything(
    state: State, site: str, destination: str
) -> None:
    """A browser that says so gets no answer for it; a link to the page works."""
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Dest": destination}
    answer, _ = await state.send("GET", "/queues", None, headers)
    assert answer.status == 403
    headers["Sec-Fetch-Dest"] = "document"
    answer, _ = await state.send("GET", "/queues", None, headers)
    assert answer.status == 200


# --- cron jobs -----------------------------------------------------------------------


def cron_job(url: str, **settings: Any) -> CronJob:
    """Return a job that is due at midnight."""
    return CronJob(
        url=url,
        schedule_text="every day 00:00",
        schedule=schedule.parse("every day 00:00", zoneinfo.ZoneInfo("UTC")),
        timezone="UTC",
        retry_parameters=queueinfo.RetryParameters(task_retry_limit=0),
        **settings,
    )


async def test_cron_jobs(state: State) -> None:
    """A job is listed with its next run in the app's time and in the server's.

    It runs now if it is named by its URL, or by its place; the answer has the status.
    """
    jobs = (cron_job("/a", description="first"), cron_job("/b"), cron_job("/b"))
    state.cron.apply(application(cron_jobs=jobs))
    await state.advance(3 * 3600)
    listed = await state.get("/cron")
    assert listed["scheduled"] is False
    now = state.clock.now()
    midnight = (now // 86400 + 1) * 86400
    next_runs = listed["jobs"][0].pop("next_runs")
    assert [run["at"] - midnight for run in next_runs] == [0, 86400, 2 * 86400]
    assert next_runs[0]["local"].endswith(" 00:00:00")
    assert listed["jobs"][0] == {
        "url": "/a",
        "schedule": "every day 00:00",
        "description": "first",
        "timezone": "UTC",
        "target": None,
        "service": "default",
        "next_run": midnight,
        "eta": midnight - 3 * 3600,
        "due_in": midnight - now,
        "running": False,
        "last_run": None,
    }
    state.app.answers(500)
    answer = await state.ask("POST", "/cron/run", b'{"url": "/a"}')
    assert answer == {"status": 500}
    assert await state.ask("POST", "/cron/run", b'{"index": 2}') == {"status": 200}
    last_runs = [job["last_run"] for job in (await state.get("/cron"))["jobs"]]
    ended = {"ended": now}
    assert last_runs == [ended | {"status": 500}, None, ended | {"status": 200}]
    assert [run.target for run in state.app.executions] == ["/a", "/b"]


@pytest.mark.parametrize(
    ("body", "status", "fact"),
    [
        (b"{}", 400, '{"url": '),
        (b'{"index": true}', 400, '{"index": '),
        (b"{", 400, "JSON"),
        (b'{"url": "/c"}', 404, "/a, /b, /b"),
        (b'{"index": 3}', 404, "3"),
        (b'{"url": "/b"}', 409, '{"index": 1}'),
    ],
)
async def test_no_cron_job_is_named(
    state: State, body: bytes, status: int, fact: str
) -> None:
    """The error says what names a job."""
    jobs = [cron_job(url) for url in ("/a", "/b", "/b")]
    state.cron.apply(application(cron_jobs=tuple(jobs)))
    error = await state.ask("POST", "/cron/run", body, status=status)
    assert fact in error["error"]


async def test_a_reset_stops_a_cron_job(state: State) -> None:
    """The request that runs a job fails, and the last run is forgotten."""
    state.cron.apply(application(cron_jobs=(cron_job("/a"),)))
    await state.ask("POST", "/cron/run", b'{"url": "/a"}')
    release = state.hold(200)
    run = asyncio.create_task(
        state.ask("POST", "/cron/run", b'{"url": "/a"}', status=409)
    )
    await until(lambda: state.app.running)
    reset = asyncio.create_task(state.post("/reset"))
    assert "reset" in (await run)["error"]
    release.set()
    await reset
    assert (await state.get("/cron"))["jobs"][0]["last_run"] is None
