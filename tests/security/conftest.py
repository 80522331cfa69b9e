"""Fixtures: each of the three apps on either dev server."""

import itertools
from collections.abc import Iterator

import pytest

from tests.conftest import SERVERS, start
from tests.servers.base import Server
from tests.servers.staging import APPS, stage
from tools import cloud_sdk


@pytest.fixture(
    scope="session",
    params=itertools.product(SERVERS, APPS),
    ids="-".join,
)
def victim(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server with one of the apps on it, started once for all tests."""
    name, app_name = request.param
    work = tmp_path_factory.mktemp(app_name)
    app = stage(app_name, work)
    try:
        server = start(name, "bundled", app, work)
    except cloud_sdk.NotInstalledError as error:
        pytest.skip(str(error))
    try:
        yield server
    finally:
        server.stop()
