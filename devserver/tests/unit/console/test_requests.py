"""The routes for requests, called over HTTP."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from google.appengine.api.memcache import memcache_service_pb2
from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2
from google.appengine.datastore import datastore_pb
from google.cloud import datastore_v1

from gae_devserver.activity.activity import Activity
from gae_devserver.activity.records import Attempt, Failure, LogLine, Record
from gae_devserver.console.requests.requests import RequestRoutes
from tests.helpers.calls import reference

pytestmark = pytest.mark.asyncio

HEADERS = (
    (b"Accept", b"text/html"),
    (b"cookie", b"secret"),
    (b"Authorization", b"Bearer secret"),
    (b"X-AppEngine-Api-Ticket", b"secret"),
)


class Console:
    """The routes on a port, and the records that they show."""

    def __init__(self) -> None:
        self.activity = Activity()

    async def start(self) -> None:
        """Serve."""
        app = web.Application()
        routes = RequestRoutes(self.activity, lambda service: f"http://{service}:1")
        app.add_routes(routes.routes())
        self._client = TestClient(TestServer(app))
        await self._client.start_server()

    async def stop(self) -> None:
        """Close the port."""
        await self._client.close()

    async def get(self, path: str, status: int = 200) -> Any:
        """GET a path; return the JSON of the answer, or its text."""
        answer = await self._client.get(path)
        assert answer.status == status
        if answer.content_type == "application/json":
            return await answer.json()
        return await answer.text()

    async def numbers(self, query: str = "") -> list[int]:
        """Return the numbers of the requests in a list."""
        return [
            item["number"] for item in (await self.get(f"/requests{query}"))["requests"]
        ]

    def add(
        self, target: str = "/", status: int = 200, service: str = "default"
    ) -> Record:
        """Add a request that has ended, unless its status is 0."""
        record = self.activity.begin("request", "GET", target, service, headers=HEADERS)
        self.activity.link(str(record.number), record)
        if status:
            self.activity.end(record, status)
        return record

    def call(self, record: Record, name: str, message: Any, error: str = "") -> None:
        """Add an API call of a request."""
        data = message if isinstance(message, bytes) else message.SerializeToString()
        began = time.perf_counter()
        self.activity.add_call(str(record.number), name, data, began, error)


@pytest_asyncio.fixture
async def console() -> AsyncIterator[Console]:
    """The routes without requests."""
    console = Console()
    await console.start()
    yield console
    await console.stop()


# --- the list ------------------------------------------------------------------------


async def test_filters(console: Console) -> None:
    """Text of the path, class of the status and service select requests."""
    console.add("/a?X=1")
    console.add("/b", 404)
    console.add("/ax", 503, "worker")
    console.add("/", 0)
    assert await console.numbers() == [4, 3, 2, 1]
    assert await console.numbers("?path=x") == [3, 1]
    assert await console.numbers("?status=5xx") == [3]
    assert await console.numbers("?status=none") == [4]
    assert await console.numbers("?service=worker") == [3]
    assert await console.numbers("?path=%3C&service=") == []
    await console.get("/requests?status=6xx", 400)


async def test_pages(console: Console) -> None:
    """A cursor leads to older requests, also if newer ones arrive meanwhile."""
    for _ in range(5):
        console.add("/a")
        console.add("/b")
    first = await console.get("/requests?path=a&limit=3")
    assert [item["number"] for item in first["requests"]] == [9, 7, 5]
    console.add("/a")
    last = await console.get(f"/requests?path=a&limit=3&cursor={first['cursor']}")
    assert [item["number"] for item in last["requests"]] == [3, 1]
    assert last["cursor"] is None


# --- one request ---------------------------------------------------------------------


async def test_what_belongs_to_a_request(console: Console) -> None:
    """Its API calls, lines and exception are shown; nothing that gives access is."""
    record = console.add("/path")
    get = memcache_service_pb2.MemcacheGetRequest(key=[b"a", b"\xff"])
    console.call(record, "memcache.Get", get, "DeadlineExceeded")
    line = LogLine(record.began + 0.5, "INFO", "app", "hello")
    console.activity.add_line(record, line)
    failure = Failure("ValueError", "boom", "jobs.explode", "jobs.py", 35, "s", "full")
    console.activity.set_failure(record, failure)
    shown = await console.get("/requests/1")
    (call,) = shown["api_calls"]
    assert call["error"] == "DeadlineExceeded"
    assert call["request"] == "'a', '\ufffd'"
    assert shown["lines"][0]["after"] == pytest.approx(0.5)
    assert shown["failure"]["file"] == "jobs.py"
    assert shown["send_again"] == "http://default:1/path"
    assert dict(shown["headers"])["Accept"] == "text/html"
    assert "secret" not in str(shown)


async def test_attempt_of_a_task(console: Console) -> None:
    """An attempt is shown like a request, with its task; it is not in the list."""
    task = taskqueue_service_bytes_pb2.TaskQueueQueryTasksResponse.Task()
    task.header.add(key=b"X-Own", value=b"1")
    attempt = Attempt("default", "t1", 2, 0.0, task, "failed", "500 in 3 ms", 0.4)
    console.activity.begin("task", "POST", "/work", "default", attempt)
    shown = await console.get("/requests/1")
    assert (shown["task"]["name"], shown["task"]["attempt"]) == ("t1", 2)
    assert shown["headers"] == [["X-Own", "1"]]
    assert shown["send_again"] is None
    assert await console.numbers() == []
    await console.get("/requests/2", 404)


@pytest.mark.parametrize("target", ["http://evil.test/", "*", "javascript:alert(1)"])
async def test_what_cannot_be_sent_again(console: Console, target: str) -> None:
    """Only a path of the app is a link."""
    console.add(target)
    assert (await console.get("/requests/1"))["send_again"] is None


def v3_get(*paths: tuple[object, ...]) -> Any:
    """Return a request for entities."""
    return datastore_pb.GetRequest(key=[reference(*path) for path in paths])


def v3_query() -> Any:
    """Return a query of the bundled API."""
    query = datastore_pb.Query(app="dev~unit", kind="Book", limit=5, keys_only=True)
    query.ancestor.CopyFrom(reference("Shelf", 1))
    one = query.filter.add(op=3).property.add(name="n", multiple=False)
    one.value.int64Value = 5
    return query


V1_QUERY = datastore_v1.RunQueryRequest(
    query={
        "kind": [{"name": "Book"}],
        "projection": [{"property": {"name": "n"}}],
        "filter": {
            "composite_filter": {
                "op": "OR",
                "filters": [
                    {
                        "property_filter": {
                            "property": {"name": "n"},
                            "op": "IN",
                            "value": {
                                "array_value": {"values": [{"integer_value": 1}]}
                            },
                        }
                    },
                    {
                        "composite_filter": {
                            "op": "AND",
                            "filters": [
                                {
                                    "property_filter": {
                                        "property": {"name": name},
                                        "op": "NOT_EQUAL",
                                        "value": {"boolean_value": True},
                                    }
                                }
                                for name in "ab"
                            ],
                        }
                    },
                ],
            }
        },
        "offset": 2,
    }
)
V1_COMMIT = datastore_v1.CommitRequest(
    mutations=[
        {"delete": {"path": [{"kind": "Book", "name": "a"}]}},
        {"upsert": {"key": {"path": [{"kind": "Book"}]}}},
    ]
)
TASK = taskqueue_service_bytes_pb2.TaskQueueAddRequest(
    queue_name=b"mails", task_name=b"", eta_usec=0, url=b"/work", body=b"x"
)


@pytest.mark.parametrize(
    ("name", "message", "text"),
    [
        ("datastore_v3.Get", v3_get(("A", 1, "B", "b")), "A 1 / B 'b'"),
        (
            "datastore_v3.Get",
            v3_get(*(("A", number) for number in range(1, 6))),
            "A 1, A 2, A 3 and 2 more",
        ),
        (
            "datastore_v3.RunQuery",
            v3_query(),
            "SELECT __key__ FROM Book WHERE ANCESTOR IS Shelf 1 AND n > 5 LIMIT 5",
        ),
        (
            "Datastore.RunQuery",
            datastore_v1.RunQueryRequest.pb(V1_QUERY),
            "SELECT n FROM Book WHERE n IN (1) OR (a != TRUE AND b != TRUE) OFFSET 2",
        ),
        (
            "Datastore.Commit",
            datastore_v1.CommitRequest.pb(V1_COMMIT),
            "delete Book 'a', upsert Book",
        ),
        ("taskqueue.Add", TASK, "/work to the queue mails"),
        (
            "taskqueue.BulkAdd",
            taskqueue_service_bytes_pb2.TaskQueueBulkAddRequest(add_request=[TASK] * 3),
            "3 tasks to the queue mails",
        ),
        ("datastore_v3.Get", b"\xff garbage", ""),
        ("nothing.Known", b"x", ""),
    ],
)
async def test_what_a_call_asks_for(
    console: Console, name: str, message: Any, text: str
) -> None:
    """Its request is shown in a line, if it can be read."""
    console.call(console.add(), name, message)
    (call,) = (await console.get("/requests/1"))["api_calls"]
    assert call["request"] == text


async def test_repeated_calls(console: Console) -> None:
    """Calls for one item each, and calls with one request, are pointed out."""
    record = console.add()
    for number in range(1, 41):
        console.call(record, "datastore_v3.Get", v3_get(("Book", number)))
    for _ in range(3):
        console.call(record, "datastore_v3.RunQuery", v3_query())
        console.call(record, "datastore_v3.Get", v3_get(("A", 1), ("A", 2)))
    shown = await console.get("/requests/1")
    assert [(item["name"], item["times"]) for item in shown["repeated"]] == [
        ("datastore_v3.Get", 40),
        ("datastore_v3.RunQuery", 3),
        ("datastore_v3.Get", 3),
    ]
    assert "get_multi" in shown["repeated"][0]["advice"]
    assert shown["apis"][0]["calls"] == 43


async def test_few_calls_are_no_repetition(console: Console) -> None:
    """Nothing is said of a few calls, nor of calls for several items each."""
    record = console.add()
    for number in range(1, 5):
        console.call(record, "datastore_v3.Get", v3_get(("Book", number)))
    for number in range(1, 10):
        paths = (("A", number), ("A", number + 1))
        console.call(record, "datastore_v3.Get", v3_get(*paths))
    assert (await console.get("/requests/1"))["repeated"] == []
