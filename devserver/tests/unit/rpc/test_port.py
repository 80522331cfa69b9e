"""The gRPC port: its address, its limits, and RPCs that are missing."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from gae_devserver.activity.activity import Activity
from gae_devserver.rpc.errors import NotFoundError
from gae_devserver.rpc.method import TICKET_HEADER, Method, recorded
from gae_devserver.rpc.port import GrpcPort
from tests.helpers.waiting import PATIENCE


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
