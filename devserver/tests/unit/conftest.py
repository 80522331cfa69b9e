"""Fixtures of the dev server's unit tests: services, a clock and an app of their own.

Tests that need the event loop carry `pytest.mark.asyncio`, so either mode of
pytest-asyncio will do.
"""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio
from google.appengine.api import apiproxy_stub_map

from tests.devserver.calls import App, AppRequest, Server, StoppedClock


@pytest.fixture(autouse=True)
def _sdk_state() -> Iterator[None]:
    """Undo what `Services` sets for the whole process: the stubs and the app id."""
    environment, stubs = dict(os.environ), apiproxy_stub_map.apiproxy
    yield
    apiproxy_stub_map.apiproxy = stubs
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture
def clock() -> StoppedClock:
    """The clock of the services and of the task runner."""
    return StoppedClock()


@pytest_asyncio.fixture
async def make_server(clock: StoppedClock) -> AsyncIterator[Callable[..., Server]]:
    """Make services, for given queues and with given options."""
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
    """An app that takes tasks and answers as told."""
    return App(clock)
