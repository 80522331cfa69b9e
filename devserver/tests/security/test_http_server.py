"""The limits of every HTTP port, and its check of the Host header."""

import asyncio
import contextlib
import gc
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web

from gae_devserver.http.limits import DEFAULT_LIMITS, Limits
from gae_devserver.http.server import HttpServer, check_host, read_body
from gae_devserver.http.sockets import listen
from gae_devserver.http.unread_answers import UnreadAnswer
from gae_devserver.memory import return_to_system
from tests.helpers.http_messages import Answer
from tests.helpers.waiting import PATIENCE, settled, until

pytestmark = pytest.mark.asyncio

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


class Port:
    """A server that answers with the length of a request's body."""

    def __init__(self, limits: Limits) -> None:
        self.asked = self.answered = self.handled = 0
        self.answer = "{}"
        self.released = asyncio.Event()
        self.transport: asyncio.Transport | None = None
        """The connection of the latest request."""
        self._server = HttpServer(self._handle, limits)
        self._clients = contextlib.ExitStack()

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        check_host(request)
        self.asked += 1
        self.transport = request.transport
        try:
            if request.path == "/broken":
                await until(request.content.exception)
            if request.path == "/held":
                await self.released.wait()
            if request.path in ("/broken", "/held", "/unread"):
                return web.Response()
            size = len(await read_body(request))
            self.answered += 1
            return web.Response(text=self.answer.format(size))
        finally:
            self.handled += 1

    async def start(self) -> None:
        """Serve on both loopback addresses, where there are two."""
        sockets = listen(0, host=None)
        self.socket, *_ = sockets
        self.number: int = self.socket.getsockname()[1]
        self.has_ipv6 = len(sockets) == 2
        await self._server.start(*sockets)

    async def stop(self) -> None:
        """Close the clients and the port."""
        self._clients.close()
        await self._server.stop()

    async def connect(self, address: str = "127.0.0.1") -> Connection:
        """Return a connection."""
        reader, writer = await asyncio.open_connection(address, self.number)
        self._clients.callback(writer.close)
        return reader, writer

    def has_cut(self) -> bool:
        """Return whether the latest connection is closed, with nothing left to send."""
        transport = self.transport
        return (
            transport is not None
            and transport.is_closing()
            and not transport.get_write_buffer_size()
        )

    async def send(self, data: bytes, address: str = "127.0.0.1") -> Answer:
        """Send bytes; return the answer after which the server hangs up."""
        reader, writer = await self.connect(address)
        writer.write(data)
        return Answer(await rest_of(reader))

    async def get(self, *headers: str, address: str = "127.0.0.1") -> Answer:
        """Send a GET with these headers."""
        lines = ["GET / HTTP/1.1", "Connection: close", *headers, "", ""]
        return await self.send("\r\n".join(lines).encode(), address)


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    """Return all bytes until the server hangs up."""
    async with asyncio.timeout(PATIENCE):
        return await reader.read()


async def ask(connection: Connection) -> int:
    """Send a request on an open connection; return the status of the answer."""
    reader, writer = connection
    writer.write(GET)
    async with asyncio.timeout(PATIENCE):
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(Answer(head).all("Content-Length")[0]))
    return Answer(head).status


MakePort = Callable[..., Awaitable[Port]]


@pytest_asyncio.fixture
async def make_port() -> AsyncIterator[MakePort]:
    """Start a port with these limits."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(limits: Limits) -> Port:
            port = Port(limits)
            stack.push_async_callback(port.stop)
            await port.start()
            return port

        yield make


@pytest_asyncio.fixture
async def port(make_port: MakePort) -> Port:
    """A port with the limits that every port of the dev server has."""
    return await make_port(DEFAULT_LIMITS)


# --- Host ----------------------------------------------------------------------------

GOOD_HOSTS = ["localhost", "LocalHost", "127.0.0.1", "[::1]"]


@pytest.mark.parametrize("with_port", [True, False])
@pytest.mark.parametrize("host", GOOD_HOSTS)
async def test_own_names(port: Port, host: str, with_port: bool) -> None:
    """Loopback names are served in any case, with the port or without."""
    end = f":{port.number}" if with_port else ""
    assert (await port.get(f"Host: {host}{end}")).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "elsewhere.test",
        "elsewhere.test:PORT",
        "localhost.elsewhere.test",
        "elsewhere.localhost",
        "localhost:1",
        "localhost:",
        "localhost.",
        "127.0.0.2",
        "127.1",
        "0.0.0.0",
        "::1",
        "[::]",
        "user@localhost",
        "localhost, elsewhere.test",
        "localhost/",
        "",
    ],
)
async def test_other_names(port: Port, host: str) -> None:
    """Any other name is refused with 421: it may be an attacker's (DNS rebinding)."""
    answer = await port.get(f"Host: {host.replace('PORT', str(port.number))}")
    assert answer.status == 421
    assert b"localhost" in answer.body
    assert port.answered == 0


async def test_the_address_of_the_connection(port: Port) -> None:
    """With --host, others use this address as the name; here it is IPv6's loopback."""
    if not port.has_ipv6:
        pytest.skip("this machine has no IPv6 loopback address")
    answer = await port.get(f"Host: [::1]:{port.number}", address="::1")
    assert answer.status == 200


@pytest.mark.parametrize("headers", [(), ("Host: localhost", "Host: localhost")])
async def test_one_host(port: Port, headers: tuple[str, ...]) -> None:
    """HTTP/1.1 requires one Host; none, or two, is 400."""
    assert (await port.get(*headers)).status == 400
    assert port.answered == 0


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://localhost/", 200),
        ("http://elsewhere.test/", 421),
        ("http://localhost@elsewhere.test/", 421),
        ("ftp://elsewhere.test/", 421),
    ],
)
async def test_a_host_in_the_target(port: Port, target: str, status: int) -> None:
    """A host in the target overrides the header, so it is checked too."""
    data = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert (await port.send(data.encode())).status == status


# --- size ----------------------------------------------------------------------------


@pytest.mark.parametrize("is_chunked", [True, False])
@pytest.mark.parametrize(("size", "status"), [(2**25, 200), (2**25 + 1, 413)])
async def test_a_body_may_have_32_mib(
    port: Port, is_chunked: bool, size: int, status: int
) -> None:
    """A body of exactly the limit is accepted; one byte more gets 413."""
    body = bytes(size)
    if is_chunked:
        data = POST + CHUNKED + b"%x\r\n%s\r\n0\r\n\r\n" % (size, body)
    else:
        data = POST + b"Content-Length: %d\r\n\r\n%s" % (size, body)
    answer = await port.send(data)
    assert answer.status == status
    assert b"33554432" in answer.body


@pytest.mark.parametrize(("size", "status"), [(10, 200), (11, 413)])
async def test_a_small_body_that_comes_with_its_head(
    make_port: MakePort, size: int, status: int
) -> None:
    """The limit holds for it too, though nothing is left to wait for."""
    port = await make_port(Limits(body=10))
    chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (size, bytes(size))
    assert (await port.send(POST + CHUNKED + chunk)).status == status


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"x" * 9000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"x" * 9000 + b": a\r\n\r\n",
    ],
)
async def test_a_line_that_is_too_long(port: Port, head: bytes) -> None:
    """431, and the answer names the limit without repeating the line."""
    answer = await port.send(head)
    assert answer.status == 431
    assert b"8190" in answer.body
    assert b"xxx" not in answer.body
    assert port.answered == 0


@pytest.mark.parametrize(("number", "status"), [(120, 200), (129, 400), (5000, 400)])
async def test_the_number_of_headers(port: Port, number: int, status: int) -> None:
    """More than 128 are refused."""
    headers = [f"X-{i}: a" for i in range(number)]
    assert (await port.get("Host: localhost", *headers)).status == status


@pytest.mark.parametrize(
    ("version", "length", "start"),
    [
        ("1.1", 3, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 "),
        ("1.1", 10**11, b"HTTP/1.1 413 "),
        ("1.0", 3, b"HTTP/1.0 200 "),
    ],
)
async def test_when_to_continue(
    make_port: MakePort, version: str, length: int, start: bytes
) -> None:
    """`Expect` is answered unless the body is refused; HTTP/1.0 does not have it."""
    port = await make_port(Limits(lingering_seconds=0.05))
    reader, writer = await port.connect()
    head = (
        f"POST / HTTP/{version}\r\nHost: localhost\r\nConnection: close\r\n"
        f"Expect: 100-continue\r\nContent-Length: {length}\r\n\r\nabc"
    )
    writer.write(head.encode())
    assert (await rest_of(reader)).startswith(start)


# --- broken bodies -------------------------------------------------------------------


@pytest.mark.parametrize(
    "rest",
    [
        b"XX\r\n",
        b"5\r\nhelloXX",
        b"0\r\nHost\x00: evil\r\n\r\n",
        b"0\r\nX-A: " + b"x" * 20000 + b"\r\n\r\n",
        b"0\r\n" + b"X-A: b\r\n" * 5000 + b"\r\n",
    ],
)
@pytest.mark.parametrize(
    "before", [b"", b"GET /held HTTP/1.1\r\nHost: localhost\r\n\r\n"]
)
async def test_a_body_that_breaks_later(
    port: Port, rest: bytes, before: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """400 at once, even if the head, or a whole request, came before.

    This must hold for each release of aiohttp: `parsed` uses a private name of it.
    """
    reader, writer = await port.connect()
    writer.write(before + POST + CHUNKED)
    await until(lambda: port.asked == 1)
    writer.write(rest)
    await settled()
    port.released.set()
    *_, answer = (await rest_of(reader)).rpartition(b"HTTP/1.1 ")
    assert answer.startswith(b"400 ")
    assert port.answered == 0
    assert "Traceback" not in caplog.text


async def test_nothing_is_read_after_a_broken_body(port: Port) -> None:
    """The connection ends with the answer, even if the handler reads no body."""
    reader, writer = await port.connect()
    writer.write(b"POST /broken HTTP/1.1\r\nHost: localhost\r\n" + CHUNKED)
    await until(lambda: port.asked == 1)
    writer.write(b"XX\r\n")
    assert Answer(await rest_of(reader)).status == 200


async def test_a_client_that_disconnects_in_a_body(
    port: Port, caplog: pytest.LogCaptureFixture
) -> None:
    """The request ends, and nothing is logged as an error."""
    _, writer = await port.connect()
    writer.write(POST + b"Content-Length: 9\r\n\r\nx")
    await until(lambda: port.asked == 1)
    writer.close()
    await until(lambda: port.handled == 1)
    await settled()
    assert port.answered == 0
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


# --- memory --------------------------------------------------------------------------


@pytest.fixture
def _without_collector() -> Iterator[None]:
    """Keep the garbage collector from freeing what nothing else frees."""
    gc.collect()
    return_to_system()  # what other tests have left would be used first
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_without_collector")
@pytest.mark.parametrize("end", [None, b"XX\r\n", b"1\r\nx\r\n"])
async def test_a_refused_body_is_given_back(
    make_port: MakePort, end: bytes | None
) -> None:
    """The system has the memory again at once: broken off, malformed or too large."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("only Linux has /proc, which says how much memory a process has")
    mebibytes = 12
    port = await make_port(Limits(body=mebibytes * 2**20))
    before = resident()
    uploads = [await port.connect() for _ in range(10)]
    for _, writer in uploads:
        writer.write(POST + CHUNKED)
        for _ in range(mebibytes):
            writer.write(b"%x\r\n%s\r\n" % (2**20, bytes(2**20)))
            await writer.drain()
    await until(lambda: resident() - before > 2**26)
    for _, writer in uploads:
        if end is None:
            writer.close()
        else:
            writer.write(end)
    await until(lambda: port.handled == len(uploads))
    await until(lambda: resident() - before < 2**25)
    assert port.answered == 0


def resident() -> int:
    """Return how many bytes of memory this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def upload(size: int, *, is_chunked: bool = False) -> bytes:
    """Return the bytes of an upload of `size` bytes."""
    if is_chunked:
        return POST + CHUNKED + b"%x\r\n%s\r\n0\r\n\r\n" % (size, bytes(size))
    return POST + b"Content-Length: %d\r\n\r\n%s" % (size, bytes(size))


@pytest.mark.parametrize("is_chunked", [True, False])
async def test_large_bodies_wait_for_each_other(
    make_port: MakePort, is_chunked: bool
) -> None:
    """Those of a port share its memory; a small one, or another port, need not wait."""
    limits = Limits(body=200_000, bodies=350_000)
    port, other = await make_port(limits), await make_port(limits)
    data = upload(200_000, is_chunked=is_chunked)
    reader, writer = await port.connect()
    writer.write(data[:-1])
    await until(lambda: port.asked == 1)
    waiting = asyncio.create_task(port.send(data))
    await until(lambda: port.asked == 2)
    assert (await port.send(upload(1_000, is_chunked=is_chunked))).body == b"1000"
    assert (await other.send(data)).body == b"200000"
    assert not waiting.done()
    writer.write(data[-1:])
    for answer in (Answer(await rest_of(reader)), await waiting):
        assert (answer.status, answer.body) == (200, b"200000")


async def test_a_body_that_gets_no_memory(make_port: MakePort) -> None:
    """After a while it gets 503 with the limit; when another one ends there is room."""
    port = await make_port(Limits(bodies=350_000, bodies_seconds=0.1))
    data = upload(200_000)
    _, writer = await port.connect()
    writer.write(data[:-1])
    await until(lambda: port.asked == 1)
    answer = await port.send(data)
    assert answer.status == 503
    assert b"350000" in answer.body
    writer.close()
    await until(lambda: port.handled == 2)
    assert (await port.send(data)).status == 200


# --- time ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"G",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n",
        POST + b"Content-Length: 5\r\n\r\n1\r\n",
        POST + CHUNKED + b"1\r\n",
    ],
)
async def test_a_slow_request(make_port: MakePort, data: bytes) -> None:
    """A client that does not complete its head or body gets 408."""
    port = await make_port(
        Limits(head_seconds=0.05, body_seconds=0.05, lingering_seconds=0.05)
    )
    answer = await port.send(data)
    assert answer.status == 408
    assert answer.body
    assert port.answered == 0


async def test_a_slow_second_head(make_port: MakePort) -> None:
    """The time counts from the start of each request, not of the connection."""
    limits = Limits(head_seconds=0.5)
    port = await make_port(limits)
    reader, writer = connection = await port.connect()
    loop = asyncio.get_running_loop()
    end = loop.time() + 1.5 * limits.head_seconds
    while loop.time() < end:
        writer.write(b"GET / HTTP/1.1\r\nX-A: b\r\n")
        await settled()
        writer.write(b"Host: localhost\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n0")
        assert await ask(connection) == 200
    writer.write(b"GET /")
    assert Answer(await rest_of(reader)).status == 408


async def test_a_body_after_the_answer(make_port: MakePort) -> None:
    """A late body is not a slow head: a 408 would pass for the next answer."""
    port = await make_port(Limits(head_seconds=0.05, idle_seconds=0.3))
    reader, writer = await port.connect()
    head = b"POST /unread HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n"
    writer.write(head)
    async with asyncio.timeout(PATIENCE):
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
    writer.write(b"ab")
    assert await rest_of(reader) == b""


@pytest.mark.parametrize(
    "limits",
    [Limits(idle_seconds=0.05), Limits(connections=0, refused_seconds=0.05)],
    ids=["idle", "one too many"],
)
async def test_a_silent_connection_is_closed(
    make_port: MakePort, limits: Limits
) -> None:
    """Nothing is sent on it: browsers open some in advance."""
    port = await make_port(limits)
    reader, _ = await port.connect()
    assert await rest_of(reader) == b""


# --- unread answers ------------------------------------------------------------------


@pytest.mark.parametrize("requests", [1, 20_000])
async def test_a_client_that_reads_nothing(make_port: MakePort, requests: int) -> None:
    """A connection whose client reads nothing is cut, with one large answer or many."""
    port = await make_port(Limits(stalled_seconds=0.1))
    port.answer = "x" * (2**25 // requests)
    _, writer = await port.connect()
    writer.write(GET * requests)
    await until(port.has_cut)


async def test_a_client_that_reads_a_large_answer(port: Port) -> None:
    """A client that reads gets all of a large answer, also what had to wait for it."""
    port.answer = "x" * 2**25
    assert len((await port.get("Host: localhost")).body) == 2**25


@pytest.mark.parametrize("end", [b"Connection: close\r\n\r\n", b"\r\n"])
async def test_a_client_that_leaves_the_rest(make_port: MakePort, end: bytes) -> None:
    """A connection with unread bytes is cut, even if they are few and it is closed."""
    port = await make_port(Limits(stalled_seconds=0.1, idle_seconds=0.1))
    port.answer = "x" * 60_000
    # each connection inherits it
    port.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.connect(("127.0.0.1", port.number))
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + end)
        await until(lambda: port.answered == 1)
        await until(port.has_cut)


class Waiting(asyncio.Transport):
    """A connection on which these numbers of bytes wait, one look after the other."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self._sizes = list(sizes)
        self.seen: list[int] = []
        self.aborted = asyncio.Event()

    def get_write_buffer_size(self) -> int:
        """Return the next number."""
        self.seen.append(self._sizes.pop(0))
        return self.seen[-1]

    def abort(self) -> None:
        """Note that it ends."""
        self.aborted.set()


async def test_a_client_that_reads_slowly() -> None:
    """A client may take any time, as long as it reads something between two checks."""
    transport = Waiting(9000, 8999, 1, 1)
    UnreadAnswer(transport, seconds=0.001).watch()
    async with asyncio.timeout(PATIENCE):
        await transport.aborted.wait()
    assert transport.seen == [9000, 8999, 1, 1]


# --- connections ---------------------------------------------------------------------


async def test_too_many_connections(make_port: MakePort) -> None:
    """One too many gets 429; when another one ends there is room again."""
    port = await make_port(Limits(connections=3))
    connections = [await port.connect() for _ in range(3)]
    assert [await ask(connection) for connection in connections] == [200] * 3
    assert await ask(await port.connect()) == 429
    assert [await ask(connection) for connection in connections] == [200] * 3
    connections[0][1].close()
    statuses: list[int] = []
    async with asyncio.timeout(PATIENCE):
        while 200 not in statuses:
            statuses.append(await ask(await port.connect()))
    assert set(statuses) <= {429, 200}


async def test_far_too_many_connections(make_port: MakePort) -> None:
    """A silent connection gets 429 at once if others are already waiting for theirs."""
    port = await make_port(Limits(connections=1, refused=1, refused_seconds=PATIENCE))
    held = [await port.connect() for _ in range(2)]
    reader, _ = await port.connect()
    assert Answer(await rest_of(reader)).status == 429
    assert await ask(held[0]) == 200


# --- half-closed connections ---------------------------------------------------------


HELD = b"GET /held HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "bodies"),
    [
        (GET, [b"0"]),
        (POST + b"Content-Length: 3\r\n\r\nabc", [b"3"]),
        (upload(200_000, is_chunked=True), [b"200000"]),
        (
            b"GET /held HTTP/1.1\r\nHost: localhost\r\n\r\n" + GET * 3,
            [b""] + 3 * [b"0"],
        ),
    ],
)
async def test_a_client_that_closes_its_half(
    port: Port, data: bytes, bodies: list[bytes]
) -> None:
    """It gets the answers to all requests that are complete, and then the end."""
    reader, writer = await port.connect()
    writer.write(data)
    writer.write_eof()
    await until(lambda: port.asked)
    await settled()
    port.released.set()
    answers = (await rest_of(reader)).split(b"HTTP/1.1 ")[1:]
    assert len(answers) == len(bodies)
    for answer, body in zip(answers, bodies, strict=True):
        assert answer.startswith(b"200 ")
        assert answer.endswith(b"\r\n\r\n" + body)


async def test_a_client_that_closes_its_half_too_early(port: Port) -> None:
    """Without a complete request the connection ends at once."""
    reader, writer = await port.connect()
    writer.write(GET[:-2])
    writer.write_eof()
    assert await rest_of(reader) == b""
    assert port.asked == 0
