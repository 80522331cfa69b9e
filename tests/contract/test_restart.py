"""With a storage, entities and tasks survive the end of the server."""

import pathlib

import pytest

from tests.servers.embedded import Embedded
from tests.servers.staging import stage


@pytest.mark.differs("restart")
def test_restart_on_stored_entities(
    app_name: str, library: str, tasks: str, tmp_path: pathlib.Path
) -> None:
    """After a restart, old tasks run, and old and new tasks count."""
    app = stage(app_name, tmp_path, library, tasks)
    storage = f"--storage={tmp_path / 'storage'}"
    with Embedded(app, tmp_path, storage, log="killed.log") as server:
        server.get("/counter/increment")
        server.advance(60)
        assert server.get("/counter/get").text == "20"
        server.kill()

    with Embedded(app, tmp_path, storage) as server:
        assert server.get("/counter/get").text == "20"
        server.advance(60)
        assert server.get("/counter/get").text == "30"
        server.get("/counter/increment")
        server.advance(120)
        assert server.get("/counter/get").text == "60"
