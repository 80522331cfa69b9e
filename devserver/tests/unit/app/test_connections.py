"""The connections to one process of the app."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from multidict import CIMultiDict

from gae_devserver.app.connections import Connections, NotConnectedError, Request
from tests.helpers.waiting import until

pytestmark = pytest.mark.asyncio

REQUEST = Request("GET", "/", CIMultiDict(Host="localhost"))
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Listener:
    """Answers each request with the same bytes, unless a test takes them away."""

    def __init__(self) -> None:
        self.answer: bytes = ANSWER
        self.requests = 0
        self.opened = 0
        self.open = 0
        self.port = 0

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Serve one connection."""
        self.opened += 1
        self.open += 1
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.requests += 1
                writer.write(self.answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


@pytest_asyncio.fixture
async def listener() -> AsyncIterator[Listener]:
    """A server on a free port."""
    listener = Listener()
    async with await asyncio.start_server(listener.serve, "127.0.0.1") as server:
        listener.port = server.sockets[0].getsockname()[1]
        yield listener


@pytest_asyncio.fixture
async def connections(listener: Listener) -> AsyncIterator[Connections]:
    """Connections to the listener."""
    connections = Connections(listener.port, None)
    yield connections
    connections.close()
    await until(lambda: not listener.open)


async def get(connections: Connections) -> bytes:
    """Return the body of an answer."""
    async with connections.send(REQUEST) as reply:
        return await reply.content.read()


async def test_a_connection_serves_requests_that_follow_each_other(
    connections: Connections, listener: Listener
) -> None:
    """One that is then idle for a while is closed: it may hold a thread of the app."""
    assert [await get(connections) for _ in range(3)] == [b"ok"] * 3
    assert (listener.opened, listener.open) == (1, 1)
    await until(lambda: not listener.open)
    assert await get(connections) == b"ok"
    assert listener.opened == 2


async def test_an_interim_answer_is_not_the_answer(
    connections: Connections, listener: Listener
) -> None:
    """103 Early Hints, for example, come before it."""
    listener.answer = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ANSWER
    assert await get(connections) == b"ok"


async def test_an_answer_that_is_not_read_ends_its_connection(
    connections: Connections, listener: Listener
) -> None:
    """The next request must not get the rest of it."""
    listener.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nok"
    async with connections.send(REQUEST) as reply:
        assert reply.status == 200
    listener.answer = ANSWER
    assert await get(connections) == b"ok"
    assert listener.opened == 2


async def test_a_request_that_is_given_up_ends_its_connection(
    connections: Connections, listener: Listener
) -> None:
    """The next request must not get its answer."""
    listener.answer = b""
    running = asyncio.create_task(get(connections))
    await until(lambda: listener.requests)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    listener.answer = ANSWER
    assert await get(connections) == b"ok"
    assert listener.opened == 2


async def test_the_end_of_the_process_ends_the_requests_that_run(
    connections: Connections, listener: Listener
) -> None:
    """A fork of it may have kept their connections open."""
    listener.answer = b""
    running = asyncio.create_task(get(connections))
    await until(lambda: listener.requests)
    connections.close()
    with pytest.raises(aiohttp.ClientOSError, match="before it answered"):
        await running


async def test_a_header_cannot_add_another_one(
    connections: Connections, listener: Listener
) -> None:
    """Nothing is sent."""
    forged = Request("GET", "/", CIMultiDict({"X-A": "1\r\nX-B: 2"}))
    with pytest.raises(ValueError, match="control character"):
        async with connections.send(forged):
            pass
    assert not listener.opened


async def test_a_refused_connection_sends_nothing(listener: Listener) -> None:
    """The caller may then ask another process."""
    with pytest.raises(NotConnectedError):
        await get(Connections(1, None))
