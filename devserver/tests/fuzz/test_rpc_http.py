"""The API server: random bytes, and calls with random contents."""

import asyncio
from collections.abc import Awaitable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gae_devserver.services import rpc_table
from tests.fuzz.conftest import Reached
from tests.fuzz.messages import Style, messages
from tests.helpers.api_port import ApiPort
from tests.helpers.calls import Message, Server

PATIENCE = 30.0
"""Seconds that one call may take, and that no lock may outlast."""

METHODS = [
    (service, method)
    for service, methods in rpc_table.services().items()
    for method in methods
]
STYLE = Style(depth=5)


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, str, bytes]:
    """Draw a method, and a message of the right class."""
    service, method = draw(st.sampled_from(METHODS))
    request_class, _ = rpc_table.message_classes(service, method)
    message = draw(messages(request_class, STYLE))
    return service, method, message.SerializePartialToString()


class Port:
    """An API server whose every answer is checked."""

    def __init__(self, loop: asyncio.Runner) -> None:
        self._loop = loop
        self._port = loop.run(self._start())

    async def _start(self) -> ApiPort:
        # a call that waits for a lost lock takes too long
        port = ApiPort(Server(lock_deadline=2 * PATIENCE))
        await port.start()
        return port

    def stop(self) -> None:
        """Check that a usual call is answered, and stop."""
        try:
            assert self.call("memcache", "Stats", b"") == "response"
        finally:
            self._loop.run(self._port.stop())
            self._port.server.services.close()

    def post(self, body: bytes) -> str:
        """Send bytes; return what the answer has in it."""
        return self._checked(self._port.post(body))[0]

    def call(self, service: str, method: str, data: bytes) -> str:
        """Make a call in a request that ends with it; no transaction is left."""
        server = self._port.server
        request = server.request()
        ask = self._port.ask(service, method, data, ticket=request.ticket)
        try:
            kind, response = self._checked(ask)
        finally:
            server.end(request)
        assert server.services.datastore.is_idle(), "a transaction or a lock is left"
        if kind == "response":
            _, response_class = rpc_table.message_classes(service, method)
            response_class.FromString(response.response)
        return kind

    def _checked(self, answer: Awaitable[Message]) -> tuple[str, Message]:
        """Check what holds for every answer."""
        response = self._loop.run(asyncio.wait_for(answer, PATIENCE))
        assert b"Traceback" not in response.SerializeToString()
        assert not response.HasField("exception")
        kinds = ("response", "application_error", "rpc_error")
        (kind,) = [kind for kind in kinds if response.HasField(kind)]
        return kind, response


@pytest.fixture
def port(loop: asyncio.Runner, sdk_state: None) -> Iterator[Port]:
    """An API server that still works after the test."""
    port = Port(loop)
    yield port
    port.stop()


@given(body=st.binary(max_size=300))
def test_any_bytes(port: Port, body: bytes) -> None:
    """Any bytes are answered with an error that the client understands."""
    assert port.post(body) == "rpc_error"


@pytest.mark.reaches(response=0.02)
@given(call=calls(), contents=st.binary(max_size=100), cut=st.none() | st.floats(0, 1))
def test_any_contents(
    port: Port,
    reached: Reached,
    call: tuple[str, str, bytes],
    contents: bytes,
    cut: float | None,
) -> None:
    """A valid frame holds bytes that are no message, or the beginning of one."""
    service, method, data = call
    if cut is not None:
        contents = data[: int(len(data) * cut)]
    reached(port.call(service, method, contents))


@pytest.mark.reaches(response=0.1, application_error=0.1)
@settings(max_examples=2 * settings().max_examples)
@given(call=calls())
def test_any_message(
    port: Port, reached: Reached, call: tuple[str, str, bytes]
) -> None:
    """Messages of the right kind hold values that fit the types, but nothing else."""
    reached(port.call(*call))
