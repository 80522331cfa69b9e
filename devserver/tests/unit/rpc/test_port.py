"""The port of all RPCs: its limits, its connections, and RPCs that are missing."""

import asyncio
import contextlib
import io
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from aiohttp import web
from google.protobuf.wrappers_pb2 import BytesValue, StringValue

from gae_devserver.activity.activity import Activity
from gae_devserver.http.server import read_body
from gae_devserver.rpc.errors import NotFoundError
from gae_devserver.rpc.method import TICKET_HEADER, Method, recorded
from gae_devserver.rpc.port import GrpcPort
from tests.helpers.waiting import PATIENCE, until


@pytest.mark.asyncio
async def test_a_port_that_was_not_started_can_be_stopped() -> None:
    """Stop is harmless before start."""
    await GrpcPort().stop()


@contextlib.asynccontextmanager
async def running(port: GrpcPort) -> AsyncIterator[int]:
    """Run a port; give its number."""
    try:
        yield await port.start()
    finally:
        await port.stop()


async def error_of(
    number: int, data: bytes = b"", **options: Any
) -> grpc.aio.AioRpcError:
    """Call an RPC that is missing; return the error."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{number}") as channel:
        rpc: Any = channel.unary_unary("/a.Service/Missing")
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await rpc(data, **options)
    return error.value


@pytest.mark.asyncio
async def test_a_missing_rpc_says_its_name() -> None:
    """UNIMPLEMENTED names the service and the RPC."""
    async with running(GrpcPort()) as number:
        error = await error_of(number)
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED
    assert "a.Service/Missing" in (error.details() or "")


@pytest.mark.asyncio
@pytest.mark.parametrize("compression", grpc.Compression)
async def test_the_size_of_a_request(compression: grpc.Compression) -> None:
    """One of the limit is read, and a larger one refused, compressed or not."""
    async with running(GrpcPort(message=2**20)) as number:
        for size, code in [
            (2**20, grpc.StatusCode.UNIMPLEMENTED),
            (2**20 + 1, grpc.StatusCode.RESOURCE_EXHAUSTED),
        ]:
            error = await error_of(number, bytes(size), compression=compression)
            assert error.code() == code


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("options", "begin"),
    [
        ({"connections": 2}, b""),
        ({"handshake_seconds": 0.1}, b""),
        ({"handshake_seconds": 0.1}, b"P"),
        ({"handshake_seconds": 0.1}, b"PRI * HTTP/2.0"),
        ({"handshake_seconds": 0.1}, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ],
    ids=["one too many", "silent", "a letter", "half a preface", "no settings"],
)
async def test_a_connection_that_is_closed(
    options: dict[str, Any], begin: bytes
) -> None:
    """The third one, if there may be two, or any one that sends too little."""
    async with running(GrpcPort(**options)) as number, asyncio.timeout(PATIENCE):
        streams = [await asyncio.open_connection("127.0.0.1", number) for _ in range(3)]
        for _, writer in streams:
            writer.write(begin)
        with contextlib.suppress(ConnectionResetError):
            await streams[-1][0].read()
        for _, writer in streams:
            writer.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("ticket", ["ticket", "unknown", None])
async def test_an_rpc_belongs_to_a_request(ticket: str | None) -> None:
    """An RPC is kept with the request whose ticket it names, also if it fails."""

    async def refuse(request: Any, response: Any) -> None:
        raise NotFoundError("no such thing")

    activity = Activity()
    record = activity.begin("request", "GET", "/")
    activity.link("ticket", record)
    method = Method("Service.Find", StringValue, StringValue, refuse)
    port = GrpcPort(recorded({"a.Service/Find": method}, activity))
    metadata = None if ticket is None else ((TICKET_HEADER, ticket),)
    async with (
        running(port) as number,
        grpc.aio.insecure_channel(f"127.0.0.1:{number}") as channel,
    ):
        rpc: Any = channel.unary_unary("/a.Service/Find")
        with pytest.raises(grpc.aio.AioRpcError, match="no such thing"):
            await rpc(StringValue(value="x").SerializeToString(), metadata=metadata)
    kept = [(call.name, call.error, call.request) for call in record.calls]
    expected = [("Service.Find", "NOT_FOUND: no such thing", b"\n\x01x")]
    assert kept == (expected if ticket == "ticket" else [])


# the preface of HTTP/2 with empty settings
BEGIN = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
WAIT = """
import sys, grpc
with grpc.insecure_channel(sys.argv[1]) as channel:
    channel.unary_unary("/a.Service/Wait")(b"")
"""


class Service:
    """RPCs that return their request, or wait; and the same over HTTP."""

    def __init__(self, **options: Any) -> None:
        self.waiting = 0
        rpcs = {
            f"a.Service/{name}": Method(name, BytesValue, BytesValue, rpc)
            for name, rpc in (("Echo", self._echo), ("Wait", self._wait))
        }
        self.port = GrpcPort(rpcs, serve_http=self._over_http, **options)

    async def _echo(self, request: Any, response: Any) -> None:
        response.value = request.value

    async def _wait(self, request: Any, response: Any) -> None:
        self.waiting += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.waiting -= 1

    async def _over_http(self, request: web.BaseRequest) -> web.Response:
        return web.Response(body=await read_body(request))


def descriptors() -> int:
    """Return how many files this process has open."""
    return len(list(Path("/dev/fd").iterdir()))


@contextlib.asynccontextmanager
async def connected(number: int) -> AsyncIterator[socket.socket]:
    """Connect a client that speaks HTTP/2 to a port."""
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", number))
        await loop.sock_sendall(client, BEGIN)
        # the server's settings
        assert await loop.sock_recv(client, 100)
        yield client


@pytest.mark.asyncio
async def test_large_messages() -> None:
    """Several of 16 MiB at once come back as they were sent, in both protocols."""
    address = "127.0.0.1"
    options = [("grpc.max_receive_message_length", -1)]
    sent = [BytesValue(value=os.urandom(2**24)).SerializeToString() for _ in range(3)]
    async with (
        running(Service().port) as number,
        grpc.aio.insecure_channel(f"{address}:{number}", options) as channel,
        aiohttp.ClientSession(f"http://{address}:{number}") as session,
    ):
        rpc: Any = channel.unary_unary("/a.Service/Echo")

        async def over_http(data: bytes) -> bytes:
            async with session.post("/", data=io.BytesIO(data)) as answer:
                return await answer.read()

        calls = [call(data) for data in sent for call in (rpc, over_http)]
        assert await asyncio.gather(*calls) == [data for data in sent for _ in "12"]


@pytest.mark.asyncio
async def test_a_client_that_dies_during_a_call() -> None:
    """Its call is cancelled."""
    service = Service()
    async with running(service.port) as number:
        client = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WAIT, f"127.0.0.1:{number}"
        )
        await until(lambda: service.waiting)
        client.kill()
        await until(lambda: not service.waiting)
        await client.wait()


@pytest.mark.asyncio
async def test_a_connection_of_which_one_half_is_closed() -> None:
    """The server closes the other half, as gRPC does."""
    loop = asyncio.get_running_loop()
    async with (
        running(Service().port) as number,
        connected(number) as client,
        asyncio.timeout(PATIENCE),
    ):
        client.shutdown(socket.SHUT_WR)
        while await loop.sock_recv(client, 100):
            pass


@pytest.mark.asyncio
@pytest.mark.parametrize("begin", [b"P", b"PR", b"G"])
async def test_a_client_that_leaves_before_its_protocol_is_known(begin: bytes) -> None:
    """Its place is free at once."""
    port = GrpcPort(connections=1, handshake_seconds=600.0)
    async with running(port) as number:
        _, writer = await asyncio.open_connection("127.0.0.1", number)
        writer.write(begin)
        writer.close()
        await writer.wait_closed()
        async with aiohttp.ClientSession(f"http://127.0.0.1:{number}") as session:
            async with asyncio.timeout(PATIENCE):
                while not await answers(session):
                    pass


async def answers(session: aiohttp.ClientSession) -> bool:
    """Return whether the port answers, and does not close the connection."""
    with contextlib.suppress(aiohttp.ClientError):
        async with session.get("/") as answer:
            return answer.status == 404
    return False


@pytest.mark.asyncio
async def test_a_connection_that_is_reset() -> None:
    """The port closes its descriptors."""
    async with running(Service().port) as number:
        async with connected(number):
            pass
        await asyncio.sleep(0)
        before = descriptors()
        async with connected(number) as client:
            assert descriptors() > before
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, *[0] * 7]))
        await until(lambda: descriptors() <= before)


@pytest.mark.asyncio
async def test_a_client_that_stops_reading() -> None:
    """The port closes its connection, whose answers would take memory for ever."""
    loop = asyncio.get_running_loop()
    port = Service(stalled_seconds=0.1).port
    async with running(port) as number, connected(number) as client:
        before = descriptors()
        ping = bytes([0, 0, 8, 6, 0, 0, 0, 0, 0, *range(8)])
        with contextlib.suppress(ConnectionError):
            await loop.sock_sendall(client, ping * 2_000_000)
        await until(lambda: descriptors() < before)


async def stop_with_open_connections() -> None:
    """Start a port, have clients connect, and stop it during a call."""
    service = Service()
    number = await service.port.start()
    async with contextlib.AsyncExitStack() as clients:
        for begin in (BEGIN, b"", b"PR", b"GET / HT", b"POST / HTTP/1.1\r\n\r\n"):
            _, writer = await asyncio.open_connection("127.0.0.1", number)
            clients.callback(writer.close)
            writer.write(begin)
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{number}")
        await clients.enter_async_context(channel)
        rpc: Any = channel.unary_unary("/a.Service/Wait")
        call = rpc(b"")
        await until(lambda: service.waiting)
        async with asyncio.timeout(PATIENCE):
            await service.port.stop()
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call
        assert error.value.code() in (
            grpc.StatusCode.CANCELLED,
            grpc.StatusCode.UNAVAILABLE,
        )
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", number)


@pytest.mark.asyncio
async def test_a_stop_with_open_connections() -> None:
    """It ends calls and connections, and leaves neither tasks nor descriptors."""
    # gRPC opens some for the whole process
    await stop_with_open_connections()
    tasks, before = asyncio.all_tasks(), descriptors()
    await stop_with_open_connections()
    await until(lambda: asyncio.all_tasks() <= tasks)
    await until(lambda: descriptors() <= before)
