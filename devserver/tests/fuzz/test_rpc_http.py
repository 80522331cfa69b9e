"""The API server: random bytes, and calls with random contents."""

import asyncio
import random
from collections.abc import Iterator

import pytest
from hypothesis import strategies as st

from gae_devserver.services import rpc_table
from tests.fuzz.conftest import Fuzz
from tests.fuzz.messages import fill
from tests.helpers.api_port import ApiPort
from tests.helpers.calls import Message, Server

PATIENCE = 30.0
"""Seconds that one call may take, and that no lock may outlast."""

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


class Port(ApiPort):
    """An API server whose every answer is checked."""

    async def post(self, body: bytes, token: str | None = None) -> Message:
        """Send bytes; check what holds for every answer, and return it."""
        async with asyncio.timeout(PATIENCE):
            response = await super().post(body, token)
        assert b"Traceback" not in response.SerializeToString()
        assert not response.HasField("exception")
        assert len(kinds_of(response)) == 1
        return response

    async def make_call(self, service: str, method: str, data: bytes) -> Message:
        """Make a call in a request that ends with it; no transaction is left."""
        request = self.server.request()
        try:
            response = await self.ask(service, method, data, ticket=request.ticket)
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
    """An API server where a call that waits for a lost lock takes too long."""

    async def make() -> Port:
        made = Port(Server(lock_deadline=2 * PATIENCE))
        await made.start()
        return made

    port = loop.run(make())
    yield port
    loop.run(port.stop())
    port.server.services.close()


def still_works(port: Port, loop: asyncio.Runner) -> None:
    """Check that a usual call is answered."""
    answer = loop.run(port.make_call("memcache", "Stats", b""))
    assert answer.HasField("response")


def test_any_bytes(port: Port, loop: asyncio.Runner, fuzz: Fuzz) -> None:
    """Each is answered with an error that the client understands."""

    def check(body: bytes) -> None:
        assert loop.run(port.post(body)).HasField("rpc_error")

    fuzz("rpc_http: bytes", check, st.binary(max_size=300))
    still_works(port, loop)


def test_any_contents(port: Port, loop: asyncio.Runner, fuzz: Fuzz) -> None:
    """A valid frame holds bytes that are no message, or the beginning of one."""

    def check(
        call: tuple[str, str], contents: bytes, seed: int, cut: float
    ) -> set[str]:
        if not contents:
            request_class, _ = rpc_table.message_classes(*call)
            data = fill(request_class(), random.Random(seed)).SerializePartialToString()
            contents = data[: int(len(data) * cut)]
        return kinds_of(loop.run(port.make_call(*call, contents)))

    contents = st.one_of(st.just(b""), st.binary(max_size=100))
    drawn = (st.sampled_from(METHODS), contents, SEEDS, st.floats(0, 1))
    fuzz("rpc_http: contents", check, *drawn, at_least={"response": 0.02})
    still_works(port, loop)


def test_any_message(port: Port, loop: asyncio.Runner, fuzz: Fuzz) -> None:
    """Messages of the right kind hold values that fit the types, but nothing else."""

    def check(call: tuple[str, str], seed: int) -> set[str]:
        request_class, _ = rpc_table.message_classes(*call)
        message = fill(request_class(), random.Random(seed))
        data = message.SerializePartialToString()
        return kinds_of(loop.run(port.make_call(*call, data)))

    drawn = (st.sampled_from(METHODS), SEEDS)
    at_least = {"response": 0.1, "application_error": 0.1}
    fuzz("rpc_http: messages", check, *drawn, at_least=at_least)
    still_works(port, loop)
