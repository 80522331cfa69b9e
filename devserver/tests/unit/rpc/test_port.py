"""The gRPC port: its address, and RPCs that are missing."""

from typing import Any

import grpc
import pytest

from gae_devserver.rpc.port import GrpcPort


@pytest.mark.asyncio
async def test_a_taken_port_is_an_error() -> None:
    """A second server on the port fails instead of sharing it."""
    first = GrpcPort()
    port = await first.start()
    try:
        with pytest.raises(OSError, match=str(port)):
            await GrpcPort().start(port)
    finally:
        await first.stop()


@pytest.mark.asyncio
async def test_a_port_that_was_not_started_can_be_stopped() -> None:
    """Stop is harmless before start."""
    await GrpcPort().stop()


@pytest.mark.asyncio
async def test_a_missing_rpc_says_its_name() -> None:
    """UNIMPLEMENTED names the service and the RPC."""
    port = GrpcPort()
    address = f"127.0.0.1:{await port.start()}"
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            rpc: Any = channel.unary_unary("/a.Service/Missing")
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await rpc(b"")
    finally:
        await port.stop()
    assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert "a.Service/Missing" in (error.value.details() or "")
