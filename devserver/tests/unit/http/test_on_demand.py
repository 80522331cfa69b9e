"""A port whose server is made when the first client connects."""

import asyncio
import importlib
import socket

import pytest
from aiohttp import ClientSession, web

from gae_devserver.http.on_demand import OnDemand
from gae_devserver.http.server import HttpServer

pytestmark = pytest.mark.asyncio


async def answer(request: web.BaseRequest) -> web.StreamResponse:
    """Answer every request."""
    return web.Response(text=request.raw_path)


@pytest.fixture
def listener() -> socket.socket:
    """A socket that listens, as the command makes it."""
    return socket.create_server(("127.0.0.1", 0))


async def test_the_first_client_causes_the_import(listener: socket.socket) -> None:
    """Clients that come at once wait, and all get an answer."""
    made = []

    def make() -> HttpServer:
        made.append(HttpServer(answer))
        return made[0]

    address = listener.getsockname()
    port = OnDemand(listener, make)
    port.start()
    await asyncio.sleep(0)
    assert not made

    async def get(path: str) -> str:
        url = "http://{}:{}{}".format(*address, path)
        async with ClientSession() as session, session.get(url) as response:
            return await response.text()

    assert await asyncio.gather(*map(get, ("/1", "/2", "/3"))) == ["/1", "/2", "/3"]
    assert await get("/4") == "/4"
    assert len(made) == 1
    await port.stop()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(address)


async def test_a_module_that_is_missing(
    listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the reason, and no client waits for an answer."""

    def make() -> HttpServer:
        importlib.import_module("gae_devserver.missing")
        return HttpServer(answer)

    port = OnDemand(listener, make)
    port.start()
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    with pytest.raises(ConnectionResetError):
        await reader.read()
    assert "No module named 'gae_devserver.missing'" in caplog.text
    writer.close()
    await port.stop()


async def test_a_port_without_clients(listener: socket.socket) -> None:
    """A stop closes it."""
    address = listener.getsockname()
    port = OnDemand(listener, lambda: HttpServer(answer))
    port.start()
    await port.stop()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(address)
