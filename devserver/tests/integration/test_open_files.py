"""A low limit on open files: what clients of each port get, and what the app gets."""

import contextlib
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from gae_devserver.testing import wait_until
from tests.helpers.app_folder import make_app
from tests.helpers.command import COMMAND, PATIENCE, Running, fetch

# answers with its soft limit
APP = """\
import resource

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(resource.getrlimit(resource.RLIMIT_NOFILE)[0]).encode()]
"""
_ULIMIT = 'ulimit -Sn 500 && ulimit -Hn 600 && exec "$@"'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An app that answers with its soft limit."""
    return make_app(tmp_path / "app", APP)


def status(url: str) -> int | None:
    """Return the status of an answer; None: it was lost when the server hung up."""
    with contextlib.suppress(OSError):
        return fetch(url)[0]
    return None


def test_more_connections_than_open_files(start: Callable[..., Running]) -> None:
    """Idle clients get no answer and cause no traceback; the app keeps its limit."""
    server = start(command=["sh", "-c", _ULIMIT, "sh", *COMMAND])
    server.answers("500")
    addresses = [
        server.url.removeprefix("http://"),
        server.state_url.removeprefix("http://"),
        server.banner("Tasks").partition("=")[2],
    ]
    with contextlib.ExitStack() as clients:
        for address in addresses:
            host, _, port = address.rpartition(":")
            for _ in range(250):
                client = socket.create_connection((host, int(port)), PATIENCE)
                clients.enter_context(client)
        wait_until(lambda: status(server.url) == 429, "an answer", PATIENCE)
    wait_until(lambda: status(server.url) == 200, "room for a client", PATIENCE)
    assert "Traceback" not in server.stderr
    assert len(server.stderr) < 10_000
