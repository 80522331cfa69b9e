"""The command with an app that says hello, and the app of the fixture `devserver`."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gae_devserver.testing.processes import descendants, wait_for_end
from tests.helpers.app_folder import copy_app, make_app
from tests.helpers.command import OWN_PYTHON, PATIENCE, Running


@pytest.fixture(scope="session")
def devserver_app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The app of the fixture `devserver`, which defers."""
    return copy_app("deferring", tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="session")
def devserver_options() -> list[str]:
    """The options of the server of the fixture `devserver`."""
    return [OWN_PYTHON]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An app that says hello."""
    return make_app(tmp_path / "app")


@pytest.fixture
def start(folder: Path, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start the server for `folder`, with the options of `Running`."""
    servers: list[Running] = []

    def start_server(*arguments: str, **options: Any) -> Running:
        work = tmp_path / f"server-{len(servers)}"
        work.mkdir()
        servers.append(Running(folder, work, *arguments, **options))
        return servers[-1]

    yield start_server
    for server in servers:
        left = {server.process.pid} | descendants(server.process.pid)
        if server.process.poll() is None:
            server.process.terminate()
        server.process.wait(PATIENCE)
        wait_for_end(left, PATIENCE)
