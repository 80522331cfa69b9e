"""`nox -s e2e`: tests of a version of which only the address is known.

The version here is a sample on a dev server, without the modules of the contract.
"""

import pathlib
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseRequestHandler

import pytest

from tests.commands.running import MINUTES, Started, nox
from tests.servers.embedded import Embedded
from tests.servers.staging import APPS, REPOSITORY


@pytest.mark.parametrize("app", APPS)
def test_routes(app: str, tmp_path: pathlib.Path) -> None:
    """Every app passes the tests that need no time, and none of them defers a task."""
    with Embedded(REPOSITORY / APPS[app], tmp_path) as server:
        url = f"{server.url}/"  # as a browser shows it

        tested = nox("-s", "e2e", "--", "--base-url", url, "-k", "not schedule")

        assert tested.returncode == 0, tested.stdout
        assert " passed, 1 deselected" in tested.stdout
        assert "skipped" not in tested.stdout
        assert server.tasks() == []
        assert server.get("/counter/get").text == "0"


def test_task_that_runs_too_early_is_found(tmp_path: pathlib.Path) -> None:
    """The test of the schedule fails, and shows its progress meanwhile."""
    pytest_ = (sys.executable, "-m", "pytest", "tests/e2e", "-k", "schedule")
    with Embedded(REPOSITORY / "flask_app", tmp_path) as server:
        command = (*pytest_, "--base-url", server.url)
        with Started(*command, work=tmp_path) as testing:
            testing.wait_for("count 10")
            server.advance(60)
            assert testing.process.wait(MINUTES) == 1

    assert "0 s  count 0, three tasks are deferred" in testing.log
    assert "AssertionError: 20 added after" in testing.log


def check_address(url: str, error: str) -> None:
    """Check that the address is named once, with an error, and no test is run."""
    tested = nox("-s", "e2e", "--", "--base-url", url)

    assert tested.returncode == 1
    assert tested.stdout.count(f"{url}{error}") == 1
    assert "no tests ran" in tested.stdout
    assert "Traceback" not in tested.stdout


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9",  # nothing listens on the discard port
        "https://version-dot-project.invalid",
    ],
)
def test_address_without_a_server(url: str) -> None:
    """The error names a port where nothing listens, and an unknown host."""
    check_address(url, " does not answer: ")


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        (SimpleHTTPRequestHandler, "/counter/get answers 404, not 200."),
        (BaseRequestHandler, " does not answer: "),  # it closes each connection
    ],
)
def test_address_of_another_server(
    handler: type[BaseRequestHandler], error: str
) -> None:
    """The error names a server that is not the app, with its answer."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            check_address(f"http://127.0.0.1:{server.server_port}", error)
        finally:
            server.shutdown()
