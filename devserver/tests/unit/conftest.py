"""Fixtures of the dev server's unit tests: services, a clock and a fake app.

Tests that need the event loop have the mark `asyncio`, so they run in either mode of
pytest-asyncio.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from tests.helpers.calls import AppRequest, Server
from tests.helpers.clock import StoppedClock
from tests.helpers.recording_app import App


@pytest.fixture(autouse=True)
def _sdk_state(sdk_state: None) -> None:
    """Undo what `Services` sets, after each test here."""


@pytest.fixture
def clock() -> StoppedClock:
    """The clock of the services and of the task runner."""
    return StoppedClock()


@pytest_asyncio.fixture
async def make_server(clock: StoppedClock) -> AsyncIterator[Callable[..., Server]]:
    """Make services with given queues and options."""
    servers: list[Server] = []

    def make(*queues: Any, **options: Any) -> Server:
        servers.append(Server(*queues, **{"clock": clock, **options}))
        return servers[-1]

    yield make
    for server in servers:
        server.services.close()


@pytest_asyncio.fixture
async def server(make_server: Callable[..., Server]) -> Server:
    """Services with the default queue."""
    return make_server()


@pytest_asyncio.fixture
async def api(server: Server) -> AppRequest:
    """A request that the app of `server` is handling."""
    return server.request()


@pytest.fixture
def app(clock: StoppedClock) -> App:
    """A fake app that records its tasks."""
    return App(clock)
