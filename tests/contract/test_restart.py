"""With a storage, entities and tasks survive the end of the server."""

import pathlib
from collections.abc import Callable, Iterator

import pytest

from tests.servers.embedded import Embedded
from tests.servers.staging import stage

pytestmark = pytest.mark.differs("restart")

Start = Callable[[], Embedded]


@pytest.fixture
def start(app_name: str, library: str, tmp_path: pathlib.Path) -> Iterator[Start]:
    """Start the chosen app on a server of its own, each time on the same storage."""
    app = stage(app_name, tmp_path, library)
    servers: list[Embedded] = []

    def start() -> Embedded:
        options = ("--storage", str(tmp_path / "storage"))
        log = f"server-{len(servers)}.log"
        servers.append(Embedded(app, tmp_path, *options, log=log))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def test_restart_on_stored_entities(start: Start) -> None:
    """After a restart, old tasks run, and old and new tasks count."""
    server = start()
    server.get("/counter/increment")
    server.advance(60)
    assert server.get("/counter/get").text == "20"
    server.kill()

    server = start()
    assert server.get("/counter/get").text == "20"
    server.advance(60)
    assert server.get("/counter/get").text == "30"
    server.get("/counter/increment")
    server.advance(120)
    assert server.get("/counter/get").text == "60"
