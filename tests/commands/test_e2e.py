"""`nox -s e2e`: tests of a version of which only the address is known.

The version here is a sample on a dev server, without the modules of the contract.
"""

import pathlib
import socketserver
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from gae_devserver.testing import wait_until

from tests.commands.running import Run, Started, nox
from tests.servers.base import Server
from tests.servers.embedded import Embedded
from tests.servers.staging import APPS, REPOSITORY
from tools import cloud_sdk
from tools.dev_appserver import free_port

SERVERS = ("embedded", "dev_appserver")


def serve(name: str, app: str, work: pathlib.Path) -> Server:
    """Start an app as it is; no copy, and nothing beside it."""
    work.mkdir()
    folder = REPOSITORY / APPS[app]
    if name == Embedded.name:
        return Embedded(folder, work)
    # only here: it imports the SDK, which takes half a second
    from tests.servers.dev_appserver import DevAppserver

    return DevAppserver(folder, work)


@pytest.mark.parametrize("app", APPS)
def test_routes(app: str, tmp_path: pathlib.Path) -> None:
    """Every app passes the tests that need no time, and none of them defers a task."""
    server = serve("embedded", app, tmp_path / "server")
    try:
        url = f"{server.url}/"  # as a browser shows it

        tested = nox("-s", "e2e", "--", "--base-url", url, "-k", "not schedule")

        assert tested.returncode == 0, tested.stdout
        assert " passed, 1 deselected" in tested.stdout
        assert "skipped" not in tested.stdout
        assert server.tasks() == []
        assert server.get("/counter/get").text == "0"
    finally:
        server.stop()


def test_task_that_runs_too_early_is_found(tmp_path: pathlib.Path) -> None:
    """The test of the schedule fails, and shows its progress meanwhile."""
    server = serve("embedded", "flask", tmp_path / "server")
    pytest_ = (sys.executable, "-m", "pytest", "tests/e2e", "-k", "schedule")
    testing = Started(*pytest_, "--base-url", server.url, work=tmp_path)
    try:
        wait_until(
            lambda: server.get("/counter/get").text == "10", "the first task has run"
        )
        server.advance(60)
        assert testing.process.wait(60) == 1
    finally:
        testing.process.kill()
        server.stop()

    assert "0 s  count 0, three tasks are deferred" in testing.log
    assert "AssertionError: 20 added after" in testing.log


@contextmanager
def listening(handler: type[socketserver.BaseRequestHandler]) -> Iterator[str]:
    """Start a server, and yield its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("server", "error"),
    [
        ("nothing", "{} does not answer: "),
        ("unknown", "{} does not answer: "),
        ("silent", "{} does not answer: "),
        ("other", "{}/counter/get answers 404, not 200."),
    ],
)
def test_wrong_address(server: str, error: str) -> None:
    """The address is named once, with what it answers; no test is run."""
    with ExitStack() as stack:
        if server == "nothing":
            url = f"http://127.0.0.1:{free_port()}"
        elif server == "unknown":
            url = "https://version-dot-project.invalid"
        elif server == "silent":  # it closes each connection at once
            url = stack.enter_context(listening(socketserver.BaseRequestHandler))
        else:
            url = stack.enter_context(listening(SimpleHTTPRequestHandler))

        tested = nox("-s", "e2e", "--", "--base-url", url)

    assert tested.returncode == 1
    assert tested.stdout.count(error.format(url)) == 1
    assert "no tests ran" in tested.stdout
    assert "Traceback" not in tested.stdout


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """What `nox -s e2e` printed for each app on each server, all at the same time."""
    work = tmp_path_factory.mktemp("servers")
    names = list(SERVERS)
    try:
        cloud_sdk.find_dev_appserver()
    except cloud_sdk.NotInstalledError:
        names.remove("dev_appserver")
    with ExitStack() as stack:
        servers = {}
        for app, name in [(app, name) for name in names for app in APPS]:
            server = serve(name, app, work / f"{app}-{name}")
            stack.callback(server.stop)
            servers[f"{app} on {name}"] = server.url
        with ThreadPoolExecutor(len(servers)) as pool:
            urls = servers.values()
            tested = pool.map(lambda x: nox("-s", "e2e", "--", "--base-url", x), urls)
            yield dict(zip(servers, tested, strict=True))


@pytest.mark.realtime
@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize("app", APPS)
def test_everything(app: str, name: str, runs: dict[str, Run]) -> None:
    """Every app, as it is, passes on both servers, the schedule in real time too."""
    if f"{app} on {name}" not in runs:
        pytest.skip(cloud_sdk.INSTALL_DEV_APPSERVER)
    tested = runs[f"{app} on {name}"]

    assert tested.returncode == 0, tested.stdout
    assert " passed in " in tested.stdout
    assert " skipped" not in tested.stdout
    assert " count 30, as documented\n" in tested.stdout
