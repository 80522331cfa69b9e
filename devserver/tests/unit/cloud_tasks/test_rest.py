"""Cloud Tasks over REST, with RPCs that only record their requests."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import tasks_v2, tasks_v2beta3

from gae_devserver.cloud_tasks import messages
from gae_devserver.cloud_tasks.rest import Rest
from gae_devserver.http.server import HttpServer
from gae_devserver.rpc.errors import NotFoundError
from gae_devserver.rpc.method import Method

pytestmark = pytest.mark.asyncio

LOCATION = "projects/p/locations/l"
QUEUE = f"{LOCATION}/queues/q"
TASK = f"{QUEUE}/tasks/t"
MASK = {"paths": ["rate_limits.max_dispatches_per_second", "retry_config"]}
TARGET = {"url": "http://a.test", "body": b"\0\xff", "headers": {"A": "b"}}
REQUESTS: dict[str, dict[str, Any]] = {
    "BatchCreateTasks": {"parent": QUEUE, "requests": [{"task": {"name": TASK}}]},
    "BatchDeleteTasks": {"parent": QUEUE, "names": [TASK, f"{TASK}2"]},
    "CreateQueue": {"parent": LOCATION, "queue": {"name": QUEUE}},
    "CreateTask": {"parent": QUEUE, "task": {"http_request": TARGET}},
    "DeleteQueue": {"name": QUEUE},
    "DeleteTask": {"name": TASK},
    "GetQueue": {"name": QUEUE},
    "GetTask": {"name": TASK, "response_view": "FULL"},
    "ListQueues": {"parent": LOCATION, "filter": "state: PAUSED", "page_size": 3},
    "ListTasks": {"parent": QUEUE, "page_token": "a/b &", "response_view": "BASIC"},
    "PauseQueue": {"name": QUEUE},
    "PurgeQueue": {"name": QUEUE},
    "ResumeQueue": {"name": QUEUE},
    "RunTask": {"name": TASK, "response_view": "FULL"},
    "UpdateQueue": {
        "queue": {"name": QUEUE, "rate_limits": {"max_dispatches_per_second": 2.5}},
        "update_mask": MASK,
    },
}


class Port:
    """A port that serves REST."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self._server = HttpServer(self._handle)
        self._rest = Rest(
            {
                f"google.cloud.tasks.{version}.CloudTasks/{rpc}": Method(
                    rpc,
                    messages.request_class(rpc, version),
                    messages.response_class(rpc, version),
                    self._record,
                )
                for version in ("v2", "v2beta3")
                for rpc in messages.RESPONSES
            }
        )

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        return await self._rest.answer(request) or web.Response(status=418)

    async def _record(self, request: Any, response: Any) -> None:
        self.requests.append(request)
        if getattr(request, "name", "").endswith("missing"):
            raise NotFoundError("no such task")
        if hasattr(response, "state"):
            response.state = 2

    async def start(self) -> None:
        """Serve."""
        sock = socket.create_server(("127.0.0.1", 0))
        self.host = "127.0.0.1:{1}".format(*sock.getsockname())
        self.session = aiohttp.ClientSession(f"http://{self.host}")
        await self._server.start(sock)

    async def stop(self) -> None:
        """Close the port."""
        await self.session.close()
        await self._server.stop()

    async def call(self, library: Any, rpc: str, request: Any) -> Any:
        """Call an RPC with the library's client."""
        transport = library.CloudTasksClient.get_transport_class("rest")(
            host=self.host,
            url_scheme="http",
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        )
        client = library.CloudTasksClient(transport=transport)
        name = "".join(f"_{c.lower()}" if c.isupper() else c for c in rpc)[1:]
        return await asyncio.to_thread(getattr(client, name), request)


@pytest_asyncio.fixture
async def port() -> AsyncIterator[Port]:
    """A port of the test."""
    port = Port()
    await port.start()
    yield port
    await port.stop()


@pytest.mark.parametrize("library", [tasks_v2, tasks_v2beta3])
@pytest.mark.parametrize(("rpc", "fields"), REQUESTS.items(), ids=REQUESTS)
async def test_requests(
    port: Port, library: Any, rpc: str, fields: dict[str, Any]
) -> None:
    """Each request arrives as the library's own client was given it."""
    sent = getattr(library, f"{rpc}Request")(fields)
    answer = await port.call(library, rpc, sent)
    assert port.requests == [type(sent).pb(sent)]
    if isinstance(answer, library.Queue):
        assert answer.state == library.Queue.State.PAUSED


@pytest.mark.parametrize("mask", ["readMask=stats", "read_mask=name,stats"])
async def test_a_field_mask(port: Port, mask: str) -> None:
    """A mask in the query has the names of JSON or those of the API."""
    async with port.session.get(f"/v2beta3/{QUEUE}?{mask}&alt=json") as answer:
        assert await answer.json() == {"state": "PAUSED"}
    assert port.requests[0].read_mask.paths[-1] == "stats"


async def test_an_error_of_an_rpc(port: Port) -> None:
    """The library raises the exception for its code, with its text."""
    with pytest.raises(exceptions.NotFound, match="no such task"):
        await port.call(tasks_v2, "GetTask", {"name": f"{QUEUE}/tasks/missing"})


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "status"),
    [
        ("POST", f"/v2/{QUEUE}/tasks", "{", 400, "INVALID_ARGUMENT"),
        ("POST", f"/v2/{QUEUE}/tasks", "[]", 400, "INVALID_ARGUMENT"),
        ("POST", f"/v2/{QUEUE}/tasks", '{"a": 1}', 400, "INVALID_ARGUMENT"),
        ("POST", f"/v2/{QUEUE}/tasks", '{"\\ud800": 1}', 400, "INVALID_ARGUMENT"),
        ("POST", f"/v2/{QUEUE}/tasks", None, 400, "INVALID_ARGUMENT"),
        ("GET", f"/v2/{TASK}?a=b&a.b=c", None, 400, "INVALID_ARGUMENT"),
        ("GET", f"/v2/{TASK}?a=b", None, 400, "INVALID_ARGUMENT"),
        ("PUT", f"/v2/{TASK}", None, 501, "UNIMPLEMENTED"),
        ("GET", f"/v2/{LOCATION}/cmekConfig", None, 501, "UNIMPLEMENTED"),
        ("GET", f"/v2beta2/{QUEUE}", None, 501, "UNIMPLEMENTED"),
    ],
)
async def test_a_bad_request(
    port: Port, method: str, path: str, body: str | None, code: int, status: str
) -> None:
    """It is answered as Google's APIs do, and no RPC sees it."""
    headers = {"Content-Type": "application/json" if body else "text/plain"}
    async with port.session.request(method, path, data=body, headers=headers) as answer:
        error = (await answer.json())["error"]
    assert (answer.status, error["code"], error["status"]) == (code, code, status)
    assert not port.requests


async def test_a_web_page(port: Port) -> None:
    """It is refused, whatever it sends."""
    headers = {"Origin": f"http://{port.host}", "Content-Type": "application/json"}
    async with port.session.post(f"/v2/{QUEUE}:purge", headers=headers) as answer:
        assert answer.status == 403
    assert not port.requests


async def test_another_path(port: Port) -> None:
    """It is left to the other parts of the port."""
    async with port.session.get("/v2x/projects") as answer:
        assert answer.status == 418
