"""Fixtures: each of the three apps on the chosen dev server."""

from collections.abc import Iterator

import pytest

from tests.conftest import start
from tests.servers.base import Server
from tests.servers.staging import APPS, REPOSITORY, stage


@pytest.fixture(scope="session", params=APPS)
def victim(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server with one of the apps on it, started once for all tests."""
    work = tmp_path_factory.mktemp(request.param)
    app = stage(REPOSITORY / APPS[request.param], work)
    server = start(request.config.getoption("--server"), "bundled", app, work)
    try:
        yield server
    finally:
        server.stop()
