"""`nox -s e2e`: tests of a version of which only the address is known.

The version here is a sample on a dev server, without the modules of the contract.
"""

import contextlib
import itertools
import pathlib
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseRequestHandler

import pytest

from tests.commands.running import MINUTES, Run, Started, nox
from tests.servers.base import Server
from tests.servers.embedded import Embedded
from tests.servers.staging import APPS, REPOSITORY
from tools import cloud_sdk


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


@pytest.mark.realtime
def test_everything(tmp_path: pathlib.Path) -> None:
    """Every app passes unchanged on both servers, with the schedule in real time."""
    # only here: it imports the SDK, which takes half a second
    from tests.servers.dev_appserver import DevAppserver

    kinds: list[Callable[[pathlib.Path, pathlib.Path], Server]] = [Embedded]
    with contextlib.suppress(cloud_sdk.NotInstalledError):
        cloud_sdk.find_dev_appserver()
        kinds.append(DevAppserver)

    def test(server: Server) -> Run:
        return nox("-s", "e2e", "--", "--base-url", server.url)

    with contextlib.ExitStack() as stack:
        servers: list[Server] = []
        for kind, folder in itertools.product(kinds, APPS.values()):
            work = tmp_path / f"{len(servers)}"
            work.mkdir()
            servers.append(kind(REPOSITORY / folder, work))
            stack.callback(servers[-1].stop)
        # all at the same time, as each takes minutes
        with ThreadPoolExecutor(len(servers)) as pool:
            for tested in pool.map(test, servers):
                assert tested.returncode == 0, tested.stdout
                assert " passed in " in tested.stdout
                assert " skipped" not in tested.stdout
                assert " count 30, as documented\n" in tested.stdout
