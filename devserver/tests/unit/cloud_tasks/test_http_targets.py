"""HTTP targets: what arrives at a real server, and which hosts get nothing."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from multidict import CIMultiDict

from gae_devserver.app.client import Request
from gae_devserver.cloud_tasks.hosts import OPTION
from gae_devserver.cloud_tasks.http_targets import HttpTargets
from tests.helpers.tls import Authority
from tests.helpers.waiting import PATIENCE

pytestmark = pytest.mark.asyncio


class Target:
    """A server for tasks, on 127.0.0.1."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        """Method, target, headers and body of each request."""

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Record a request, and do what its path says."""
        body = await request.read()
        seen = (request.method, request.raw_path, dict(request.headers), body)
        self.seen.append(seen)
        if request.path == "/cut":
            assert request.transport is not None
            request.transport.abort()
        if request.path == "/hang":
            response = web.StreamResponse()
            await response.prepare(request)
            await asyncio.sleep(PATIENCE)
            return response
        if request.path == "/redirect":
            return web.Response(status=307, headers={"Location": "/elsewhere"})
        # a Content-Security-Policy can be longer than aiohttp allows by default
        return web.Response(status=204, headers={"X-Long": "x" * 60_000})


@pytest_asyncio.fixture
async def target() -> AsyncIterator[Target]:
    """A server that records tasks."""
    sock = socket.create_server(("127.0.0.1", 0))
    target = Target(sock.getsockname()[1])
    runner = web.ServerRunner(web.Server(target.answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.SockSite(runner, sock).start()
    yield target
    await runner.cleanup()


@pytest_asyncio.fixture
async def targets() -> AsyncIterator[HttpTargets]:
    """The sender, which may send to this machine and to 0.0.0.0."""
    targets = HttpTargets(["0.0.0.0"])
    yield targets
    await targets.close()


async def send(targets: HttpTargets, url: str, deadline: float = PATIENCE) -> int:
    """Send a GET."""
    return await targets.dispatch(Request("GET", url, CIMultiDict()), deadline)


async def test_a_task_arrives_as_it_was_made(
    target: Target, targets: HttpTargets
) -> None:
    """Only what HTTP requires is added to its headers; the URL is encoded."""
    url = f"http://localhost:{target.port}/ü x?a=%20#no"
    headers = CIMultiDict([("X-Own", "é"), ("Authorization", "Bearer x")])
    assert await targets.dispatch(Request("PATCH", url, headers, b"\0\xff"), 9) == 204
    sent = {
        "X-Own": "é",
        "Authorization": "Bearer x",
        "Host": f"localhost:{target.port}",
        "Content-Length": "2",
        "Connection": "close",
    }
    assert target.seen == [("PATCH", "/%C3%BC%20x?a=%20", sent, b"\0\xff")]


@pytest.mark.parametrize(
    "host",
    [
        "LocalHost",
        "localhost.",
        "worker.v1.localhost",
        "user:password@localhost",
        "127.0.0.1",
        "[::ffff:127.0.0.1]",
        "\uff11\uff12\uff17.0.0.1",
        "0.0.0.0",
    ],
)
async def test_a_host_that_is_allowed(
    target: Target,
    targets: HttpTargets,
    host: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """This machine gets its tasks under all of its names, and never from a proxy."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert await send(targets, f"http://{host}:{target.port}/") == 204
    assert len(target.seen) == 1


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("worker.example", "worker.example"),
        ("WORKER.example.", "worker.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("localhost.example", "localhost.example"),
        ("notlocalhost", "notlocalhost"),
        ("localhost:80@worker.example", "worker.example"),
        ("worker.example#@localhost", "worker.example"),
        ("worker.example?@localhost", "worker.example"),
        ("169.254.169.254", "169.254.169.254"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[::ffff:192.0.2.1]", "192.0.2.1"),
        # a system may take each of these for 127.0.0.1
        ("[::]", "::"),
        ("0", "0"),
        ("127.1", "127.1"),
        ("2130706433", "2130706433"),
        ("0x7f000001", "0x7f000001"),
        ("0177.0.0.1", "0177.0.0.1"),
    ],
)
async def test_another_host_gets_nothing(
    targets: HttpTargets, host: str, named: str
) -> None:
    """The error names the host, and the option that allows it."""
    with pytest.raises(ConnectionError) as error:
        await send(targets, f"http://{host}/")
    assert str(error.value).endswith(f"{OPTION} {named}")


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http:///path",
        "http://localhost:port/",
        "http://localhost:99999/",
        "http://[::1/",
        "http://local%68ost/",
        "http://local host/",
        r"http://worker.example\@localhost/",
        "http://127.0.0.1:1/",
    ],
)
async def test_a_url_that_leads_nowhere(targets: HttpTargets, url: str) -> None:
    """The attempt fails, as with a closed port."""
    with pytest.raises(ConnectionError):
        await send(targets, url)


async def test_a_redirect_is_not_followed(target: Target, targets: HttpTargets) -> None:
    """Its status is the answer, so that the task is retried."""
    assert await send(targets, f"http://localhost:{target.port}/redirect") == 307
    assert [path for _, path, _, _ in target.seen] == ["/redirect"]


async def test_a_broken_connection(target: Target, targets: HttpTargets) -> None:
    """The task is sent only once: the server may have run it."""
    with pytest.raises(ConnectionError):
        await send(targets, f"http://localhost:{target.port}/cut")
    assert len(target.seen) == 1


async def test_an_answer_that_takes_too_long(
    target: Target, targets: HttpTargets
) -> None:
    """The deadline ends an attempt, also while the target sends its answer."""
    with pytest.raises(TimeoutError):
        await send(targets, f"http://localhost:{target.port}/hang", deadline=0.1)


@pytest.mark.parametrize("is_trusted", [True, False])
async def test_a_certificate_is_verified(
    targets: HttpTargets,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_trusted: bool,
) -> None:
    """A target gets a task only if this machine trusts who signed its certificate."""
    authority = Authority(tmp_path)
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))

    async def answer(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        assert is_trusted
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    context = authority.server_context("localhost")
    async with await asyncio.start_server(answer, "localhost", ssl=context) as server:
        url = f"https://localhost:{server.sockets[0].getsockname()[1]}/"
        if is_trusted:
            assert await send(targets, url) == 204
        else:
            with pytest.raises(ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
                await send(targets, url)
