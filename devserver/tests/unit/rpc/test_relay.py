"""The relay between a client and gRPC."""

import asyncio
import os
import socket

import pytest

from gae_devserver.rpc.relay import new_buffer, relay
from tests.helpers.waiting import PATIENCE, settled

pytestmark = pytest.mark.asyncio


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets, which do not block."""
    pair = socket.socketpair()
    for sock in pair:
        sock.setblocking(False)
    return pair


async def read_all(sock: socket.socket) -> bytes:
    """Return what comes until the end."""
    loop, chunks = asyncio.get_running_loop(), []
    while chunk := await loop.sock_recv(sock, 2**16):
        chunks.append(chunk)
    return b"".join(chunks)


async def run(near: socket.socket, far: socket.socket) -> None:
    """Relay, and close what is relayed."""
    with near, far:
        await relay(near, far, new_buffer())


async def test_bytes_wait_at_their_sender() -> None:
    """What is not read yet is not taken; then it comes in order, also after an end."""
    loop = asyncio.get_running_loop()
    client, near = socket_pair()
    far, server = socket_pair()
    there, back = os.urandom(2**23), os.urandom(2**23)
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(run(near, far))
        requests = tasks.create_task(loop.sock_sendall(client, there))
        answers = tasks.create_task(loop.sock_sendall(server, back))
        await settled(100)
        assert not requests.done()
        assert not answers.done()
        arrived = tasks.create_task(read_all(server))
        await requests
        client.shutdown(socket.SHUT_WR)
        assert await arrived == there
        # the other direction is still open
        returned = tasks.create_task(read_all(client))
        await answers
        server.close()
        assert await returned == back
    client.close()


async def through_a_relay(content: bytes) -> bytes:
    """Return what arrives."""
    client, near = socket_pair()
    far, server = socket_pair()
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(run(near, far))
        arrived = tasks.create_task(read_all(server))
        await asyncio.get_running_loop().sock_sendall(client, content)
        client.close()
        await arrived
        server.close()
    return arrived.result()


async def test_loops_of_several_threads_do_not_mix_their_bytes() -> None:
    """Each server of a process has a loop in a thread of its own."""
    sent = [bytes([number]) * 2**24 for number in range(4)]
    calls = (
        asyncio.to_thread(asyncio.run, through_a_relay(content)) for content in sent
    )
    for content, arrived in zip(sent, await asyncio.gather(*calls), strict=True):
        # a difference of this size would take minutes to describe
        assert arrived.count(content[:1]) == len(content)


@pytest.mark.parametrize("gone", [0, 1], ids=["client", "server"])
async def test_an_end_that_is_gone(gone: int) -> None:
    """The other one is closed, although it still sends."""
    loop = asyncio.get_running_loop()
    client, near = socket_pair()
    far, server = socket_pair()
    ends = [client, server]
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        relaying = tasks.create_task(run(near, far))
        ends.pop(gone).close()
        with ends[0] as sender, pytest.raises(ConnectionError):
            # more than the buffers on the way hold
            await loop.sock_sendall(sender, bytes(2**24))
        await relaying
