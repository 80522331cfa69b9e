"""The HTTP/2 of a connection: what a client may send, and what it gets."""

import asyncio
import contextlib
import gzip
import struct
import zlib
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import BytesValue
from hpack import Decoder, Encoder, NeverIndexedHeaderTuple

from gae_devserver.rpc.errors import NotFoundError
from gae_devserver.rpc.method import Method
from gae_devserver.rpc.port import GrpcPort
from tests.helpers.waiting import PATIENCE, settled, until

pytestmark = pytest.mark.asyncio

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY = range(8)
WINDOW_UPDATE, CONTINUATION = 8, 9
ACK = END_STREAM = 1
END_HEADERS, PADDED, HAS_PRIORITY = 4, 8, 32
LAST_HEADERS = END_STREAM | END_HEADERS
MOST = 2**20
"""Bytes of a request."""
REQUEST = {
    ":method": "POST",
    ":scheme": "http",
    ":path": "/a.Service/Echo",
    ":authority": "localhost",
    "te": "trailers",
    "content-type": "application/grpc",
}


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """Return a frame."""
    length = len(payload).to_bytes(3, "big")
    return length + struct.pack(">BBL", kind, flags, stream) + payload


def setting(name: int, value: int) -> bytes:
    """Return a frame with a setting."""
    return frame(SETTINGS, payload=struct.pack(">HL", name, value))


def message(content: bytes, *, compressed: bool = False) -> bytes:
    """Return a message as gRPC sends it."""
    return struct.pack(">BL", compressed, len(content)) + content


def encoded(size: int) -> bytes:
    """Return a request of Echo, and its answer."""
    return BytesValue(value=b"x" * size).SerializeToString()


def block(path: str = "/a.Service/Echo", encoder: Any = None, **others: str) -> bytes:
    """Return the headers of a request."""
    fields = REQUEST | {":path": path}
    fields |= {name.replace("_", "-"): value for name, value in others.items()}
    return (encoder or Encoder()).encode(fields.items())


def request(
    stream: int, body: bytes = message(encoded(3)), **fields: Any
) -> tuple[bytes, ...]:
    """Return the frames of a request."""
    parts = [body[at : at + 2**14] for at in range(0, len(body), 2**14)]
    return (
        frame(HEADERS, END_HEADERS, stream, block(**fields)),
        *(frame(DATA, 0, stream, part) for part in parts),
        frame(DATA, END_STREAM, stream),
    )


BEGIN = (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", frame(SETTINGS))
"""What a client sends first."""


class Client:
    """Sends and receives frames."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = Decoder()

    def send(self, *frames: bytes) -> None:
        """Send frames."""
        self._writer.write(b"".join(frames))

    @property
    def left(self) -> int:
        """The bytes that the server and the system have not taken."""
        return self._writer.transport.get_write_buffer_size()

    async def frame(self, *kinds: int) -> tuple[int, int, int, bytes]:
        """Return the next frame of these kinds: its kind, flags, stream, payload."""
        while True:
            async with asyncio.timeout(PATIENCE):
                head = await self._reader.readexactly(9)
                payload = await self._reader.readexactly(int.from_bytes(head[:3]))
            kind, flags, stream = struct.unpack(">BBL", head[3:])
            if kind in kinds:
                return kind, flags, stream, payload

    async def answer(self, stream: int) -> tuple[dict[str, str], bytes]:
        """Return the headers of an answer, with its trailers, and its message."""
        headers: dict[str, str] = {}
        body = b""
        while True:
            kind, flags, of, payload = await self.frame(DATA, HEADERS)
            if kind == HEADERS:
                fields: Iterable[Any] = self._decoder.decode(payload)
                headers |= dict(fields) if of == stream else {}
            elif of == stream:
                body += payload
            if of == stream and flags & END_STREAM:
                return headers, body

    async def code(self, stream: int) -> int:
        """Return the status code of an answer."""
        return int((await self.answer(stream))[0]["grpc-status"])

    async def failure(self) -> int:
        """Return the code with which the server closes the connection."""
        payload = (await self.frame(GOAWAY))[3]
        async with asyncio.timeout(PATIENCE):
            # a client that is still sending gets a reset
            with contextlib.suppress(ConnectionResetError):
                assert not await self._reader.read()
        return int.from_bytes(payload[4:8])


class Service:
    """RPCs: one returns its request, one waits, one fails."""

    def __init__(self) -> None:
        self.waiting = 0
        self.failure = ""
        rpcs = {"Echo": self._echo, "Wait": self._wait, "Fail": self._fail}
        self.port = GrpcPort(
            {
                f"a.Service/{name}": Method(name, BytesValue, BytesValue, rpc)
                for name, rpc in rpcs.items()
            },
            message=MOST,
        )

    async def _echo(self, request: Any, response: Any) -> None:
        response.value = request.value

    async def _wait(self, request: Any, response: Any) -> None:
        self.waiting += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.waiting -= 1

    async def _fail(self, request: Any, response: Any) -> None:
        raise NotFoundError(self.failure)


@contextlib.asynccontextmanager
async def running(
    service: Service | None = None, begin: Iterable[bytes] = BEGIN
) -> AsyncIterator[tuple[int, Client]]:
    """Run a port; give its number, and a client that has sent `begin`."""
    port = (service or Service()).port
    number = await port.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", number)
        with contextlib.closing(writer):
            client = Client(reader, writer)
            client.send(*begin)
            yield number, client
    finally:
        await port.stop()


async def test_a_request_in_many_parts() -> None:
    """Headers and data may be cut anywhere, padded, and have what is ignored."""
    headers, body = block(), message(encoded(40))
    priority = struct.pack(">LB", 0, 9)
    sent = b"".join(
        [
            *BEGIN,
            frame(
                HEADERS,
                PADDED | HAS_PRIORITY,
                1,
                b"\x03" + priority + headers[:9] + bytes(3),
            ),
            frame(CONTINUATION, 0, 1, headers[9:20]),
            frame(CONTINUATION, END_HEADERS, 1, headers[20:]),
            frame(PRIORITY, 0, 1, priority),
            frame(DATA, PADDED, 1, b"\x09" + body[:3] + bytes(9)),
            frame(DATA, 0, 1),
            frame(0xBE, 0xFF, 7, b"unknown"),
            frame(DATA, 0, 1, body[3:20]),
            frame(DATA, 0, 1, body[20:]),
            frame(HEADERS, LAST_HEADERS, 1, Encoder().encode([("x", "trailer")])),
        ]
    )
    async with running(begin=()) as (_, client):
        for byte in sent:
            client.send(bytes([byte]))
            await asyncio.sleep(0)
        headers_of_answer, got = await client.answer(1)
    assert got == body
    assert headers_of_answer["grpc-status"] == "0"


async def test_headers_that_change_the_table() -> None:
    """Each request has its own headers, also if the bytes are those of an earlier one.

    A client refers to headers that it has sent by numbers, which change with each one.
    """
    encoder = Encoder()
    of_bytes: dict[bytes, set[str]] = {}
    async with running() as (_, client):
        for stream in range(1, 400, 2):
            # each size of the table, and names that come again after others
            if stream % 50 == 1:
                encoder.header_table_size = (0, 4096, 200, 1000)[stream // 50 % 4]
            path = f"/a.Service/Missing{stream * stream % 7}"
            headers = block(path, encoder, x=str(stream % 3) * 30)
            of_bytes.setdefault(headers, set()).add(path)
            client.send(
                frame(HEADERS, END_HEADERS, stream, headers),
                frame(DATA, END_STREAM, stream, message(b"")),
            )
            answer, _ = await client.answer(stream)
            assert answer["grpc-message"].endswith(path[1:])
    # the same bytes have had other meanings
    assert max(map(len, of_bytes.values())) > 1


async def test_a_table_that_grows() -> None:
    """The same bytes fill a table that had no room for them before."""
    encoder = Encoder()
    literal, indexed = block(encoder=encoder), block(encoder=encoder)
    plain = Encoder().encode(NeverIndexedHeaderTuple(*it) for it in REQUEST.items())
    to_0, to_4096 = b"\x20", b"\x3f\xe1\x1f"
    blocks = to_0 + plain, literal, to_4096 + plain, literal, indexed
    async with running() as (_, client):
        for stream, headers in zip(range(1, 11, 2), blocks, strict=True):
            client.send(
                frame(HEADERS, END_HEADERS, stream, headers),
                frame(DATA, END_STREAM, stream, message(b"")),
            )
            assert await client.code(stream) == 0


@pytest.mark.parametrize(
    ("fields", "body", "code"),
    [
        ({"grpc_encoding": "gzip"}, gzip.compress(encoded(9)), 0),
        ({"grpc_encoding": "deflate"}, zlib.compress(encoded(9)), 0),
        ({"grpc_encoding": "gzip"}, gzip.compress(bytes(MOST + 1)), 8),
        ({"grpc_encoding": "gzip"}, gzip.compress(encoded(9))[:-9], 13),
        ({"grpc_encoding": "gzip"}, b"x", 13),
        ({"grpc_encoding": "snappy"}, b"x", 12),
        ({}, b"x", 12),
    ],
    ids=["gzip", "deflate", "too large", "cut", "broken", "unknown", "none"],
)
async def test_a_compressed_message(
    fields: dict[str, str], body: bytes, code: int
) -> None:
    """Its size is limited after decompression; what cannot be read is an error."""
    async with running() as (_, client):
        client.send(*request(1, message(body, compressed=True), **fields))
        assert await client.code(1) == code


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", 13),
        (message(b"abc")[:-1], 13),
        (message(b"") * 2, 13),
        (message(b"\xff"), 3),
        (struct.pack(">BL", 0, MOST + 1), 8),
    ],
    ids=["none", "cut", "two", "malformed", "too large"],
)
async def test_a_request_that_is_no_message(body: bytes, code: int) -> None:
    """It is an error, and the connection stays."""
    async with running() as (_, client):
        client.send(*request(1, body), *request(3))
        assert await client.code(1) == code
        assert await client.code(3) == 0


@pytest.mark.parametrize(
    "fields",
    [
        {":method": "GET"},
        {"content-type": "text/html"},
        {"content-type": "application/grpc-web"},
        {"content-type": ""},
    ],
)
async def test_a_request_that_is_not_of_grpc(fields: dict[str, str]) -> None:
    """It gets 415, as the protocol says."""
    headers = Encoder().encode((REQUEST | fields).items())
    async with running() as (_, client):
        client.send(frame(HEADERS, LAST_HEADERS, 1, headers))
        assert (await client.answer(1))[0] == {":status": "415"}


HUGE = Encoder().encode([("x", "y" * 60_000)], huffman=False)


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (frame(HEADERS, LAST_HEADERS, 2, block()), 1),
        (frame(DATA, END_STREAM, 1, b"x"), 1),
        (frame(CONTINUATION, END_HEADERS, 1, block()), 1),
        (frame(HEADERS, 0, 1, block()) + frame(PING, payload=bytes(8)), 1),
        (frame(HEADERS, 0, 1) + frame(CONTINUATION, 4, 3, block()), 1),
        (frame(HEADERS, END_HEADERS | PADDED, 1, b"\x09x"), 1),
        (frame(HEADERS, END_HEADERS | PADDED, 1), 6),
        (frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff"), 9),
        (frame(HEADERS, END_HEADERS, 1, HUGE[:20] + b"\xbe" * 9000), 9),
        (frame(HEADERS, 0, 1, HUGE[:9]) + frame(CONTINUATION, 0, 1) * 2, 11),
        (
            frame(HEADERS, 0, 1, HUGE[:9])
            + frame(CONTINUATION, 0, 1, bytes(2**14)) * 4,
            11,
        ),
        (frame(HEADERS, 4, 1, block()) * 2, 1),
        (frame(RST_STREAM, 0, 1, bytes(4)), 1),
        (frame(RST_STREAM, 0, 1, b""), 6),
        (frame(PUSH_PROMISE, 0, 1, bytes(4)), 1),
        (frame(PING, payload=b"short"), 6),
        (frame(SETTINGS, payload=b"short"), 6),
        (setting(4, 2**31), 3),
        (frame(WINDOW_UPDATE, payload=bytes(4)), 1),
        (frame(WINDOW_UPDATE, payload=b"\x7f\xff\xff\xff"), 3),
        (frame(WINDOW_UPDATE, 0, 1, bytes([0, 0, 0, 1])), 1),
        (frame(DATA, 0, 1, bytes(2**14 + 1)), 6),
    ],
)
async def test_a_client_that_breaks_the_rules(frames: bytes, code: int) -> None:
    """The server says why, and closes the connection."""
    async with running() as (_, client):
        client.send(frames)
        assert await client.failure() == code


async def test_another_preface() -> None:
    """The server closes a connection that only begins like one of HTTP/2."""
    async with running() as (number, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", number)
        with contextlib.closing(writer):
            writer.write(b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n")
            assert await Client(reader, writer).failure() == 1


async def test_an_answer_waits_for_the_client() -> None:
    """The server sends no more than the windows of the stream and the connection."""
    size = 200_000
    async with running() as (_, client):
        client.send(setting(4, 10), *request(1, message(encoded(size))))
        assert len((await client.frame(DATA))[3]) == 10
        # other answers pass
        client.send(setting(4, 1000), frame(RST_STREAM, 0, 1, bytes(4)))
        client.send(*request(3), *request(5, message(encoded(size))))
        assert await client.code(3) == 0
        received, allowed = 0, 1000
        while received < len(message(encoded(size))):
            part = (await client.frame(DATA))[3]
            received += len(part)
            assert received <= allowed
            if received == allowed:
                allowed += 50_000
                grant = struct.pack(">L", 50_000)
                client.send(
                    frame(WINDOW_UPDATE, 0, 5, grant), frame(WINDOW_UPDATE, 0, 0, grant)
                )
        assert await client.code(5) == 0


@pytest.mark.parametrize("count", [10, 5000])
async def test_streams_that_are_reset(count: int) -> None:
    """Their calls are cancelled, and the server carries out the next one."""
    service = Service()
    async with running(service) as (_, client):
        streams = range(1, 2 * count, 2)
        for stream in streams:
            client.send(*request(stream, message(b""), path="/a.Service/Wait"))
            if count > 10:
                client.send(frame(RST_STREAM, 0, stream, bytes(4)))
        if count == 10:
            await until(lambda: service.waiting == count)
            client.send(*(frame(RST_STREAM, 0, one, bytes(4)) for one in streams))
            await until(lambda: not service.waiting)
        client.send(frame(PING, payload=b"8 bytes."))
        while (await client.frame(PING))[1:] != (ACK, 0, b"8 bytes."):
            pass
        client.send(*request(2 * count + 1))
        assert await client.code(2 * count + 1) == 0
        assert not service.waiting


async def test_too_many_calls_at_once() -> None:
    """The server refuses those beyond its setting; the client may send them again."""
    service = Service()
    async with running(service) as (_, client):
        payload = (await client.frame(SETTINGS))[3]
        most = dict(struct.iter_unpack(">HL", payload))[3]
        for stream in range(1, 2 * most + 3, 2):
            client.send(*request(stream, message(b""), path="/a.Service/Wait"))
        _, _, stream, payload = await client.frame(RST_STREAM)
        assert (stream, int.from_bytes(payload)) == (2 * most + 1, 7)
        await until(lambda: service.waiting == most)


@pytest.mark.parametrize("sent", ["pings", "calls that fail"])
async def test_a_client_that_reads_nothing(sent: str) -> None:
    """The server stops reading, so that what waits for the client has a limit."""
    async with running() as (_, client):
        # no frame is left that makes the server look at what waits
        await client.frame(SETTINGS)
        await client.frame(SETTINGS)
        if sent == "pings":
            flood = frame(PING, payload=bytes(8)) * 1_000_000
        else:
            encoder = Encoder()
            # the first block has the long path, and the others only its number
            blocks = [block(f"/{'x' * 2000}", encoder) for _ in range(10_000)]
            flood = b"".join(
                frame(HEADERS, END_HEADERS, 2 * count + 1, one)
                + frame(DATA, END_STREAM, 2 * count + 1, message(b""))
                + frame(0xBE, payload=bytes(2500))
                for count, one in enumerate(blocks)
            )
        client.send(flood)
        before = 0
        while (left := client.left) != before:
            before = left
            await settled()
        assert 0 < left < len(flood)


async def test_a_deadline_cancels_a_call() -> None:
    """The client gets its status even if it does not count the time itself."""
    service = Service()
    async with running(service) as (_, client):
        call = {"path": "/a.Service/Wait", "grpc_timeout": "20m"}
        client.send(*request(1, message(b""), **call))
        # this request is not even complete
        client.send(frame(HEADERS, END_HEADERS, 3, block(**call)))
        client.send(*request(5, grpc_timeout="900u"))
        assert await client.code(5) == 4
        assert await client.code(1) == 4
        assert await client.code(3) == 4
        assert not service.waiting


@pytest.mark.parametrize(
    "text", ["", "100 % ", "a\nb\x7f", "Zürich 東京 \U0001f600", "ü" * 9000]
)
async def test_the_text_of_an_error(text: str) -> None:
    """Clients get any text, or as much of it as they take."""
    service = Service()
    service.failure = text
    async with (
        running(service) as (number, _),
        grpc.aio.insecure_channel(f"127.0.0.1:{number}") as channel,
    ):
        rpc: Any = channel.unary_unary("/a.Service/Fail")
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await rpc(b"")
    assert error.value.code() == grpc.StatusCode.NOT_FOUND
    got = error.value.details() or ""
    assert got == text or (got.endswith("ü ...") and text.startswith(got[:-4]))


async def test_a_client_that_pings_often() -> None:
    """The settings of keepalive are the client's own business."""
    options = [
        ("grpc.keepalive_time_ms", 10),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    service = Service()
    async with (
        running(service) as (number, _),
        grpc.aio.insecure_channel(f"127.0.0.1:{number}", options) as channel,
    ):
        rpc: Any = channel.unary_unary("/a.Service/Wait")
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await rpc(b"", timeout=0.5)
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: not service.waiting)
