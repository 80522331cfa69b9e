"""The port for API calls: random bytes, and calls with random contents."""

import asyncio
import random
import secrets
import socket
from collections.abc import Iterator

import aiohttp
import pytest
from google.appengine.ext.remote_api import remote_api_bytes_pb2 as remote_api
from hypothesis import strategies as st

from gae_devserver.services import rpc_table
from gae_devserver.services.api_server import ApiServer
from tests.fuzz.conftest import Fuzz
from tests.fuzz.messages import fill
from tests.helpers.calls import Message, Server

PATIENCE = 30.0
"""Seconds that one call may take."""

SEEDS = st.integers(0, 2**64 - 1)
METHODS = [
    (service, method)
    for service, methods in rpc_table.services().items()
    for method in methods
]


def kinds_of(response: Message) -> set[str]:
    """Return what an answer has in it, which is one of these."""
    kinds = ("response", "application_error", "rpc_error")
    return {kind for kind in kinds if response.HasField(kind)}


class Port:
    """The services behind a port, and an app's request after the other."""

    def __init__(self) -> None:
        self.server = Server()
        self._api_server = ApiServer(
            self.server.services, self.server.requests, True, secrets.token_hex(16)
        )

    async def start(self) -> None:
        """Serve."""
        sock = socket.create_server(("127.0.0.1", 0))
        await self._api_server.start(sock)
        self._session = aiohttp.ClientSession(
            f"http://127.0.0.1:{sock.getsockname()[1]}"
        )

    async def stop(self) -> None:
        """Close the port and the services."""
        await self._session.close()
        await self._api_server.stop()
        self.server.services.close()

    async def post(self, body: bytes) -> Message:
        """Send bytes; check what holds for every answer, and return it."""
        async with (
            asyncio.timeout(PATIENCE),
            self._session.post("/rpc_http", data=body) as answer,
        ):
            assert answer.status == 200
            data = await answer.read()
        assert b"Traceback" not in data
        response = remote_api.Response.FromString(data)
        assert not response.HasField("exception")
        assert len(kinds_of(response)) == 1
        return response

    async def ask(self, service: str, method: str, data: bytes) -> Message:
        """Make a call in a request that ends with it; no transaction is left."""
        request = self.server.request()
        message = remote_api.Request(
            service_name=service,
            method=method,
            request=data,
            request_id=request.ticket,
        )
        try:
            response = await self.post(message.SerializeToString())
        finally:
            self.server.end(request)
        idle = self.server.services.datastore.is_idle()
        assert idle, f"{service}.{method} left a transaction or a lock"
        if response.HasField("response"):
            _, response_class = rpc_table.message_classes(service, method)
            response_class.FromString(response.response)
        return response


@pytest.fixture
def port(loop: asyncio.Runner, sdk_state: None) -> Iterator[Port]:
    """An API server."""

    async def make() -> Port:
        made = Port()
        await made.start()
        return made

    port = loop.run(make())
    yield port
    loop.run(port.stop())


def still_works(port: Port, loop: asyncio.Runner) -> None:
    """Check that a call of a usual kind is answered."""
    answer = loop.run(port.ask("memcache", "Stats", b""))
    assert answer.HasField("response")


def test_any_bytes(port: Port, loop: asyncio.Runner, fuzz: Fuzz) -> None:
    """Each is answered with an error that the client understands."""

    def check(body: bytes) -> None:
        assert loop.run(port.post(body)).HasField("rpc_error")

    fuzz("rpc_http: bytes", check, st.binary(max_size=300))
    still_works(port, loop)


def test_any_contents(port: Port, loop: asyncio.Runner, fuzz: Fuzz) -> None:
    """A frame that is right, and in it bytes that are no message, or half of one."""

    def check(
        call: tuple[str, str], contents: bytes, seed: int, cut: float
    ) -> set[str]:
        service, method = call
        if not contents:
            request_class, _ = rpc_table.message_classes(service, method)
            data = fill(request_class(), random.Random(seed)).SerializePartialToString()
            contents = data[: int(len(data) * cut)]
        return kinds_of(loop.run(port.ask(service, method, contents)))

    contents = st.one_of(st.just(b""), st.binary(max_size=100))
    cut = st.floats(0, 1)
    drawn = (st.sampled_from(METHODS), contents, SEEDS, cut)
    fuzz("rpc_http: contents", check, *drawn, at_least={"response": 0.02})
    still_works(port, loop)


def test_any_message(port: Port, loop: asyncio.Runner, fuzz: Fuzz) -> None:
    """Messages of the right kind with contents that fit the types, but nothing else."""

    def check(call: tuple[str, str], seed: int) -> set[str]:
        request_class, _ = rpc_table.message_classes(*call)
        message = fill(request_class(), random.Random(seed))
        data = message.SerializePartialToString()
        return kinds_of(loop.run(port.ask(*call, data)))

    drawn = (st.sampled_from(METHODS), SEEDS)
    at_least = {"response": 0.1, "application_error": 0.1}
    fuzz("rpc_http: messages", check, *drawn, at_least=at_least)
    still_works(port, loop)


@pytest.mark.parametrize(("service", "method"), METHODS)
def test_default_message(
    port: Port, loop: asyncio.Runner, service: str, method: str
) -> None:
    """Every method answers a message with nothing in it, within a request or not."""
    loop.run(port.ask(service, method, b""))
    call = remote_api.Request(service_name=service, method=method, request=b"")
    for ticket in (None, "", "0" * 32):
        if ticket is not None:
            call.request_id = ticket
        answer = loop.run(port.post(call.SerializeToString()))
        assert answer.rpc_error.detail.endswith(
            "was made outside of a request, or after its end"
        )
