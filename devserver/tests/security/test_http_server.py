"""The limits of every HTTP port, and its check of the Host header."""

import asyncio
import contextlib
import logging
import socket
import zlib
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from aiohttp import web

from gae_devserver.http import server as http_server
from gae_devserver.http.server import HttpServer, check_host, read_body
from tests.helpers.http_messages import Answer
from tests.helpers.waiting import PATIENCE

pytestmark = pytest.mark.asyncio

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Port:
    """A server that answers with the length of the body that it got."""

    def __init__(self) -> None:
        self.asked = 0
        self.answered = 0
        self.answer = "{}"
        self._server = HttpServer(self._handle)
        self._writers: list[asyncio.StreamWriter] = []

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        check_host(request)
        self.asked += 1
        if request.path == "/broken":
            await self.until(lambda: request.content.exception() is not None)
        if request.path in ("/broken", "/unread"):
            return web.Response()
        size = len(await read_body(request))
        self.answered += 1
        return web.Response(text=self.answer.format(size))

    async def start(self, send_buffer: int | None = None) -> None:
        """Serve on both loopback addresses, where there are two."""
        sockets = [socket.create_server(("127.0.0.1", 0))]
        self.number: int = sockets[0].getsockname()[1]
        with contextlib.suppress(OSError):
            address = ("::1", self.number)
            sockets.append(socket.create_server(address, family=socket.AF_INET6))
        self.has_ipv6 = len(sockets) == 2
        if send_buffer is not None:
            # each connection inherits it
            sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        await self._server.start(*sockets)

    async def stop(self) -> None:
        """Close the port and the clients."""
        for writer in self._writers:
            writer.close()
        await self._server.stop()

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        server = self._server._runner.server
        assert server is not None
        return len(server.connections)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition while the loop runs."""
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0.01)

    async def connect(
        self, address: str = "127.0.0.1", receive_buffer: int | None = None
    ) -> Connection:
        """Return a connection."""
        client = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        if receive_buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, (address, self.number))
        reader, writer = await asyncio.open_connection(sock=client)
        self._writers.append(writer)
        return reader, writer

    async def send(self, data: bytes, address: str = "127.0.0.1") -> Answer:
        """Send bytes; return the answer after which the server hangs up."""
        reader, writer = await self.connect(address)
        writer.write(data)
        async with asyncio.timeout(PATIENCE):
            return Answer(await reader.read())

    async def get(self, *headers: str, address: str = "127.0.0.1") -> Answer:
        """Send a GET with these headers."""
        lines = ["GET / HTTP/1.1", "Connection: close", *headers, "", ""]
        return await self.send("\r\n".join(lines).encode(), address)


@pytest_asyncio.fixture
async def make_port() -> AsyncIterator[Callable[[], Port]]:
    """Make a port, not started yet."""
    ports: list[Port] = []

    def make() -> Port:
        ports.append(Port())
        return ports[-1]

    yield make
    for port in ports:
        await port.stop()


@pytest_asyncio.fixture
async def port(make_port: Callable[[], Port]) -> Port:
    """A port."""
    made = make_port()
    await made.start()
    return made


# --- Host ----------------------------------------------------------------------------

GOOD_HOSTS = ["localhost", "LocalHost", "127.0.0.1", "[::1]"]


@pytest.mark.parametrize("with_port", [True, False])
@pytest.mark.parametrize("host", GOOD_HOSTS)
async def test_own_names(port: Port, host: str, with_port: bool) -> None:
    """Loopback names are answered in any case, with the port or without."""
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


async def test_the_address_that_the_client_has_reached(port: Port) -> None:
    """With --host it is the name that others use; here it is IPv6's loopback."""
    if not port.has_ipv6:
        pytest.skip("this machine has no IPv6 loopback address")
    answer = await port.get(f"Host: [::1]:{port.number}", address="::1")
    assert answer.status == 200


@pytest.mark.parametrize("headers", [(), ("Host: localhost", "Host: localhost")])
async def test_one_host(port: Port, headers: tuple[str, ...]) -> None:
    """HTTP/1.1 needs one Host; none, or two, is 400."""
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
    """It counts more than the header, so it is checked too."""
    data = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert (await port.send(data.encode())).status == status


# --- size ----------------------------------------------------------------------------


async def test_a_body_may_have_32_mib(port: Port) -> None:
    """That much is read whole, with a length or in chunks; a byte more is 413."""
    assert http_server.MAX_BODY == 32 * 2**20
    body = bytes(http_server.MAX_BODY)
    head = "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    for more, status in (b"", 200), (b"x", 413):
        size = len(body + more)
        length = f"{head}Content-Length: {size}\r\n\r\n".encode()
        chunks = f"{head}Transfer-Encoding: chunked\r\n\r\n{size:x}\r\n".encode()
        for data in (
            length + body + more,
            chunks + body + more + b"\r\n0\r\n\r\n",
        ):
            answer = await port.send(data)
            assert answer.status == status
            assert b"33554432" in answer.body


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"x" * 9000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"x" * 9000 + b": a\r\n\r\n",
    ],
)
async def test_a_line_that_is_too_long(port: Port, head: bytes) -> None:
    """431, and the answer says what the limit is, not what was sent."""
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


# --- time ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", [b"G", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n"]
)
async def test_a_slow_head(
    port: Port, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that does not finish the head of its request gets 408."""
    monkeypatch.setattr(http_server, "HEAD_SECONDS", 0.05)
    answer = await port.send(data)
    assert answer.status == 408
    assert answer.body


async def test_a_slow_second_head(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time counts from the beginning of each request, not of the connection."""
    reader, writer = await port.connect()
    async with asyncio.timeout(PATIENCE):
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nHost: ")
            writer.write(b"localhost\r\n\r\n")
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(1)
        monkeypatch.setattr(http_server, "HEAD_SECONDS", 0.05)
        writer.write(b"GET /")
        assert Answer(await reader.read()).status == 408


async def test_a_body_after_the_answer(
    make_port: Callable[[], Port], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no head that takes long: a 408 would be taken for the next answer."""
    monkeypatch.setattr(http_server, "HEAD_SECONDS", 0.05)
    monkeypatch.setattr(http_server, "_IDLE_SECONDS", 0.3)
    port = make_port()
    await port.start()
    reader, writer = await port.connect()
    writer.write(b"POST /unread HTTP/1.1\r\nHost: localhost\r\n")
    writer.write(b"Content-Length: 2\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        writer.write(b"ab")
        assert await reader.read() == b""


@pytest.mark.parametrize("framing", ["Content-Length: 5", "Transfer-Encoding: chunked"])
async def test_a_slow_body(
    make_port: Callable[[], Port], framing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that does not finish its body gets 408."""
    monkeypatch.setattr(http_server, "BODY_SECONDS", 0.05)
    monkeypatch.setattr(http_server, "_LINGERING_SECONDS", 0.05)
    port = make_port()
    await port.start()
    head = f"POST / HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n1\r\n"
    answer = await port.send(head.encode())
    assert answer.status == 408
    assert b"0.05 seconds" in answer.body
    assert port.answered == 0


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
async def test_a_body_that_breaks_later(
    port: Port, rest: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """400 at once, also where the head has come before; no wait for the rest."""
    reader, writer = await port.connect()
    writer.write(
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    await port.until(lambda: port.asked == 1)
    writer.write(rest)
    async with asyncio.timeout(PATIENCE):
        answer = Answer(await reader.read())
    assert answer.status == 400
    assert port.answered == 0
    assert "Traceback" not in caplog.text


async def test_nothing_is_read_after_a_broken_body(port: Port) -> None:
    """The connection ends with the answer, also where nobody reads the body."""
    reader, writer = await port.connect()
    writer.write(
        b"POST /broken HTTP/1.1\r\nHost: localhost\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    await port.until(lambda: port.asked == 1)
    writer.write(b"XX\r\n")
    async with asyncio.timeout(PATIENCE):
        assert Answer(await reader.read()).status == 200


async def test_a_client_that_goes_in_the_middle(
    port: Port, caplog: pytest.LogCaptureFixture
) -> None:
    """Is nothing to write a traceback about."""
    _, writer = await port.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx")
    await port.until(lambda: port.asked == 1)
    writer.close()
    await port.until(lambda: port.connections == 0)
    assert port.answered == 0
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


async def test_a_packed_body_stays_packed(port: Port) -> None:
    """A megabyte may unpack to a gigabyte, and everyone would wait for that."""
    body = zlib.compress(bytes(2**20))
    head = (
        "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Encoding: deflate\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    assert (await port.send(head.encode() + body)).body == str(len(body)).encode()


@pytest.mark.parametrize(
    ("version", "length", "start"),
    [
        ("1.1", 3, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 "),
        ("1.1", 10**11, b"HTTP/1.1 413 "),
        ("1.0", 3, b"HTTP/1.0 200 "),
    ],
)
async def test_when_to_continue(
    port: Port, version: str, length: int, start: bytes
) -> None:
    """Who asks first hears yes, unless the answer is no; HTTP/1.0 cannot ask."""
    reader, writer = await port.connect()
    head = (
        f"POST / HTTP/{version}\r\nHost: localhost\r\nConnection: close\r\n"
        f"Expect: 100-continue\r\nContent-Length: {length}\r\n\r\nabc"
    )
    writer.write(head.encode())
    async with asyncio.timeout(PATIENCE):
        assert (await reader.read()).startswith(start)


@pytest.mark.parametrize("requests", [1, 20_000])
async def test_a_client_that_takes_nothing(
    port: Port, requests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection is cut after a while: of one large answer, or of many."""
    monkeypatch.setattr(http_server, "STALLED_SECONDS", 0.1)
    port.answer = "x" * (32 * 2**20 // requests)
    _, writer = await port.connect()
    writer.write(GET * requests)
    await port.until(lambda: port.answered > 0)
    await port.until(lambda: port.connections == 0)


@pytest.mark.parametrize("closes", [True, False])
async def test_a_client_that_leaves_the_rest(
    make_port: Callable[[], Port], closes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection is cut too where little is left, and the server has closed it."""
    monkeypatch.setattr(http_server, "STALLED_SECONDS", 0.1)
    monkeypatch.setattr(http_server, "_IDLE_SECONDS", 0.1)
    port = make_port()
    port.answer = "x" * 60_000
    await port.start(send_buffer=4096)
    reader, writer = await port.connect(receive_buffer=2048)
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
    writer.write(b"Connection: close\r\n\r\n" if closes else b"\r\n")
    await port.until(lambda: port.answered == 1)
    await port.until(lambda: port.connections == 0)


async def test_a_client_that_takes_it_slowly(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take as long as it likes, as long as it takes some."""
    monkeypatch.setattr(http_server, "STALLED_SECONDS", 0.5)
    looks = 0
    look = http_server._Connection._watch_writing

    def count(connection: http_server._Connection, *before: int) -> None:
        nonlocal looks
        looks += 1
        look(connection, *before)

    monkeypatch.setattr(http_server._Connection, "_watch_writing", count)
    port.answer = "x" * 2**25
    reader, writer = await port.connect()
    writer.write(GET)
    await reader.readuntil(b"\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        for number in range(1, 4):
            await port.until(lambda number=number: looks >= number)  # type: ignore[misc]
            await reader.readexactly(2**22)
        await reader.readexactly(2**25 - 3 * 2**22)


async def test_an_idle_connection_is_closed(
    make_port: Callable[[], Port], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a word: browsers open some ahead."""
    monkeypatch.setattr(http_server, "_IDLE_SECONDS", 0.05)
    port = make_port()
    await port.start()
    reader, _ = await port.connect()
    async with asyncio.timeout(PATIENCE):
        assert await reader.read() == b""


# --- connections ---------------------------------------------------------------------

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def ask(connection: Connection) -> int:
    """Send a request on an open connection; return the status of the answer."""
    reader, writer = connection
    writer.write(GET)
    async with asyncio.timeout(PATIENCE):
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(Answer(head).all("Content-Length")[0]))
    return Answer(head).status


async def test_too_many_connections(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One too many gets 429; the others stay, and when one ends there is room again."""
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS", 3)
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


async def test_a_connection_too_many_that_says_nothing(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is closed soon."""
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS", 0)
    monkeypatch.setattr(http_server, "_REFUSED_SECONDS", 0.05)
    reader, _ = await port.connect()
    async with asyncio.timeout(PATIENCE):
        assert await reader.read() == b""
