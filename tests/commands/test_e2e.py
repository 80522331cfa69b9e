"""`nox -s e2e`: tests of a version of which nothing is known but its address.

Where there is none, an app as it is, on a dev server, takes its place.
"""

import pathlib
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from gae_devserver.testing import wait_until

from tests.commands.running import Run, environment, nox
from tests.servers.base import Server
from tests.servers.embedded import Embedded
from tests.servers.staging import APPS, REPOSITORY
from tools import cloud_sdk
from tools.dev_appserver import free_port

SERVERS = ("embedded", "dev_appserver")


def serve(name: str, app: str, work: pathlib.Path) -> Server:
    """Start an app as it is; no copy, and nothing beside it."""
    folder = REPOSITORY / APPS[app]
    work.mkdir()
    if name == Embedded.name:
        return Embedded(folder, work)
    # only here: it imports the SDK, which takes half a second
    from tests.servers.dev_appserver import DevAppserver

    return DevAppserver(folder, work)


@pytest.fixture
def server(
    request: pytest.FixtureRequest, tmp_path: pathlib.Path
) -> Iterator[Embedded]:
    """The embedded server with the app that the test names, or with Flask's."""
    server = Embedded(REPOSITORY / APPS[getattr(request, "param", "flask")], tmp_path)
    yield server
    server.stop()


@pytest.mark.parametrize("server", APPS, indirect=True)
def test_routes(server: Embedded) -> None:
    """Every app passes what needs no time, and none of that defers a task."""
    # the address as a browser shows it, with a slash at its end
    url = f"{server.url}/"

    tested = nox("-s", "e2e", "--", "--base-url", url, "-k", "not schedule")

    assert tested.returncode == 0, tested.stdout
    assert " passed, 1 deselected" in tested.stdout
    assert "skipped" not in tested.stdout
    assert server.tasks() == []
    assert server.get("/counter/get").text == "0"


def test_haste_is_found(server: Embedded, tmp_path: pathlib.Path) -> None:
    """A server that runs a task too early fails, and the progress is to be seen."""
    progress = tmp_path / "progress"
    with progress.open("w") as output:
        testing = subprocess.Popen(
            [
                *(sys.executable, "-m", "pytest", "tests/e2e"),
                *("-k", "schedule", "--base-url", server.url),
            ],
            cwd=REPOSITORY,
            env=environment(),
            stdout=output,
        )
    try:
        wait_until(
            lambda: server.get("/counter/get").text == "10",
            "the first task has run",
        )
        server.advance(60)
        assert testing.wait(60) == 1
    finally:
        testing.kill()
        testing.wait()

    shown = progress.read_text()
    assert "0 s  count 0, three tasks are deferred" in shown
    assert "AssertionError: 20 added after" in shown


def error_line(tested: Run) -> str:
    """Return the one line that says why no test was run."""
    (line,) = re.findall(r"^!+ .*Exit: (.*?) !+$", tested.stdout, re.MULTILINE)
    assert tested.returncode == 1
    assert "no tests ran" in tested.stdout
    assert "Traceback" not in tested.stdout
    return str(line)


def test_silence_is_found() -> None:
    """An address at which nothing listens is named once; no test is run."""
    nowhere = f"http://127.0.0.1:{free_port()}"

    tested = nox("-s", "e2e", "--", "--base-url", nowhere)

    assert error_line(tested).startswith(f"{nowhere} does not answer: ")
    assert "refused" in error_line(tested)


def test_unknown_host_is_found() -> None:
    """So is a host that there is not."""
    nowhere = "https://version-dot-project.invalid"

    tested = nox("-s", "e2e", "--", "--base-url", nowhere)

    assert error_line(tested).startswith(f"{nowhere} does not answer: ")


def test_server_that_never_answers_is_asked_once(tmp_path: pathlib.Path) -> None:
    """One that accepts and says no more costs one time limit, not one for each test."""
    conftest = "import tests.servers.base\ntests.servers.base.TIMEOUT = 0.5\n"
    (tmp_path / "hurry.py").write_text(conftest)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"

        tested = nox(
            *("-s", "e2e", "--", "--base-url", url, "-p", "hurry"),
            PYTHONPATH=str(tmp_path),
        )

        assert error_line(tested).startswith(f"{url} does not answer: timed out.")
        connection, _ = silent.accept()
        connection.close()
        silent.setblocking(False)
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_other_site_is_found(tmp_path: pathlib.Path) -> None:
    """A server of something else is named with what it answers; no test is run."""
    serving = subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "0"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert serving.stdout is not None
        (port,) = re.findall(r" port (\d+) ", serving.stdout.readline())
        url = f"http://127.0.0.1:{port}"

        tested = nox("-s", "e2e", "--", "--base-url", url)
    finally:
        serving.kill()
        serving.communicate()

    assert error_line(tested).startswith(f"{url}/counter/get answers 404, not 200.")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "the following arguments are required: --base-url"),
        (["--base-url"], "argument --base-url: expected one argument"),
        *(
            (["--base-url", url], f"argument --base-url: {url!r} ")
            for url in (
                "",
                "example.appspot.com",
                "ftp://example.appspot.com",
                "https://example.appspot.com/counter/get",
            )
        ),
        (
            ["--base-url", "http://localhost:port"],
            "argument --base-url: invalid base_url value: 'http://localhost:port'",
        ),
    ],
)
def test_mistake_in_the_address(arguments: list[str], reason: str) -> None:
    """One line names the mistake, and a command that is right."""
    tested = nox("-s", "e2e", "--", *arguments)

    (line,) = (x for x in tested.stderr.splitlines() if "aborted" in x)
    assert tested.returncode == 1
    assert f"aborted: {reason}" in line
    assert "python3 noxfile.py -s e2e -- --base-url https://" in line
    assert tested.stdout == ""
    assert "Traceback" not in tested.stderr


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """What `nox -s e2e` said of each app on each server, all at the same time."""
    work = tmp_path_factory.mktemp("servers")
    names = list(SERVERS)
    try:
        cloud_sdk.find_dev_appserver()
    except cloud_sdk.NotInstalledError:
        names.remove("dev_appserver")
    servers = {}
    try:
        for name in names:
            for app in APPS:
                key = f"{app} on {name}"
                servers[key] = serve(name, app, work / key.replace(" ", "-"))
        with ThreadPoolExecutor(len(servers)) as pool:
            urls = [server.url for server in servers.values()]
            tested = pool.map(lambda x: nox("-s", "e2e", "--", "--base-url", x), urls)
            yield dict(zip(servers, tested, strict=True))
    finally:
        for server in servers.values():
            server.stop()


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
