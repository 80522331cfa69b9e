"""The log: what belongs to which request, on old and new Python, under frameworks."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gae_devserver.environments import interpreters
from gae_devserver.testing import DevServer, wait_until
from tests.helpers.app_folder import CALLING, HELLO, RUNTIME, copy_app, make_app
from tests.helpers.caches import own_cache
from tests.helpers.command import OWN_PYTHON, PATIENCE, Running, fetch

SDK = "appengine-python-standard"
GUNICORN = "gunicorn --threads 4"
UVICORN = "gunicorn -k uvicorn_worker.UvicornWorker"
APPS: dict[str, tuple[str | None, str, str]] = {
    # the app's Python, its packages, and the entrypoint
    "on_wsgi": (None, "", GUNICORN),
    "on_flask-3.7": ("3.7", f"{SDK} flask", GUNICORN),
    "on_django-3.13": ("3.13", f"{SDK} legacy-cgi django", GUNICORN),
    "on_starlette-3.13": ("3.13", "starlette uvicorn-worker", UVICORN),
}
STAMP = r"\d\d:\d\d:\d\d "


def make(folder: Path, name: str) -> Path:
    """Make an app of tests/apps/logs, which needs packages or has those of the tests.

    Its Python is that of the tests, or another one.
    """
    version, packages, start = APPS[name]
    runtime = RUNTIME
    if version is not None:
        runtime = f"python{version.replace('.', '')}"
        major, minor = map(int, version.split("."))
        if interpreters.find((major, minor)) is None:
            pytest.skip(f"this machine has no Python {version}")
    app = copy_app("logs", folder)
    if packages:
        (app / "requirements.txt").write_text(
            "\n".join(["gunicorn", *packages.split()])
        )
    (app / "app.yaml").write_text(
        f"runtime: {runtime}\napp_engine_apis: true\n"
        f"entrypoint: {start} {name.partition('-')[0]}:app\n"
    )
    return app


@pytest.fixture(scope="module", params=APPS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DevServer]:
    """The server with one of the apps."""
    folder = tmp_path_factory.mktemp("app")
    app = make(folder, request.param)
    options = [] if APPS[request.param][1] else [OWN_PYTHON]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own_cache(folder / "cache").items():
            patch.setenv(name, value)
        with DevServer(app, *options, log_file=folder / "log") as server:
            yield server


def lines_of(server: DevServer, path: str, end: str) -> list[str]:
    """Return the lines that follow from a request, up to one that matches `end`."""

    def answers() -> bool:
        server.reset()
        # uvicorn closes the connection after an exception, and may get a request then
        return server.get(path).status != 502

    wait_until(answers, "an answer of the app")
    server.wait_for_log(rf"{end}\n")
    # of Django, which names what its error page shows
    shown = (line for line in server.log().splitlines() if "DEBUG of" not in line)
    return list(shown)


def test_an_exception(server: DevServer) -> None:
    """The line of the request has it; one traceback follows, only with app's lines."""
    lines = lines_of(server, "/explode", "ValueError: boom")
    printed, logged, ended, *traceback = lines
    assert (printed, logged) == ("before", "WARNING of my.logger: careful")
    request = r"warning: GET /explode 500 \d+ ms: ValueError: boom \(work\.py:\d+\)"
    assert re.fullmatch(STAMP + request, ended)
    files = [line.split('"')[1] for line in traceback if line.startswith("  File ")]
    assert files
    assert {Path(file).parent for file in files} == {server.log_file.parent / "logs"}
    assert (
        traceback.count("KeyError: 'first'") == traceback.count("ValueError: boom") == 1
    )


def test_an_exception_that_the_app_handles(server: DevServer) -> None:
    """Its traceback is where it was logged; `str` of it may fail."""
    lines = lines_of(server, "/catch", STAMP + "GET /catch 200 .*")
    logged, head, *_, error, printed, ended = lines
    assert logged == "ERROR of root: caught"
    assert head.startswith("Traceback ")
    assert error.startswith("work.OddError: <")
    assert (printed, " 200 " in ended) == ("went on", True)


def test_a_group_of_exceptions(server: DevServer) -> None:
    """It is shown once, with its parts."""
    lines = lines_of(server, "/group", ".*a group.*\n(.*\n)*.*a group.*")
    assert " GET /group 500 " in lines[0]
    assert "work.py:" in lines[0]


def test_a_line_without_an_end(server: DevServer) -> None:
    """It is complete when the request ends, and before the line of the request."""
    printed, ended = lines_of(server, "/unfinished", ".* GET /unfinished 200 .*")
    assert printed == "no end"
    assert ended.endswith(" ms")


# Python 3.7 cannot give code another file
@pytest.mark.parametrize(
    "server", sorted(APPS.keys() - {"on_flask-3.7"}), indirect=True
)
def test_a_mistake_in_a_log_call(server: DevServer) -> None:
    """The stack that logging shows ends at the call."""
    lines = lines_of(server, "/mistake", STAMP + "GET /mistake 200 .*")
    code = lines[lines.index("Message: '%d'") - 2]
    assert re.search(r'work\.py", line \d+, in mistake', code)


@pytest.mark.parametrize("server", ["on_wsgi"], indirect=True)
def test_a_failed_task(server: DevServer) -> None:
    """Each attempt is one line; the traceback follows once, as it is the same again.

    A log file of the app has what it has without this server.
    """
    server.reset()
    server.get("/defer/explode")
    server.wait_for_log("dropped after attempt 2\n")
    log = server.log()
    task = "warning: task explode-1 work.explode: ValueError: boom"
    assert re.search(rf"{task} \(work\.py:\d+\); attempt 1, next in 0\.1 s\n", log)
    assert re.search(rf"{task} \(work\.py:\d+\); dropped after attempt 2\n", log)
    assert re.search("attempt 1(.*\n)*ValueError: boom\n(.*\n)*.*attempt 2", log)
    assert log.count("Traceback") == 2  # with its cause
    assert not re.search("google/appengine|gunicorn", log)
    written = (server.log_file.parent / "logs/app.log").read_text()
    assert written.count("google/appengine") > 10


@pytest.mark.parametrize("server", ["on_wsgi"], indirect=True)
def test_the_records(server: DevServer) -> None:
    """Lines and exceptions are kept with their request."""
    server.reset()
    server.get("/explode")
    failure = server.last_failure()
    assert failure is not None
    assert (failure.type, failure.function, failure.file) == (
        "ValueError",
        "explode",
        "work.py",
    )


def test_debug(folder: Path, start: Callable[..., Running]) -> None:
    """At this level the log has all of a traceback, and gunicorn's first lines."""
    raising = CALLING.replace(
        "    start_response", "    raise ValueError('boom')\n    #"
    )
    make_app(folder, raising, "app_engine_apis: true")
    quiet, all_of_it = start("--no-reload"), start("--no-reload", "--log-level=debug")
    for server in (quiet, all_of_it):
        fetch(server.url)
        server.log("ValueError: boom\n")
    all_of_it.log("google/appengine/runtime")
    all_of_it.log("Booting worker")
    assert not re.search("google|gunicorn", quiet.stderr)


@pytest.mark.parametrize("main", [f"print('imported')\n{HELLO}", "raise ValueError\n"])
def test_json(folder: Path, start: Callable[..., Running], main: str) -> None:
    """Each line is an object with a time and a severity, of a start that fails too."""
    make_app(folder, main)
    server = start("--no-reload", "--log-format", "json")
    if "raise" not in main:
        fetch(server.url, "/path")
        server.log("GET /path")
        server.process.terminate()
    server.process.wait(PATIENCE)
    lines = [json.loads(line) for line in server.stderr.splitlines()]
    assert all({"time", "severity", "message"} <= line.keys() for line in lines)
    if "raise" in main:
        assert (lines[-1]["severity"], lines[0]["source"]) == ("CRITICAL", "app")
        return
    (ended,) = (line for line in lines if "GET /path" in line["message"])
    shown = {name: ended[name] for name in ("severity", "method", "path", "status")}
    expected = {"severity": "INFO", "method": "GET", "path": "/path", "status": 200}
    assert shown == expected
    assert [line["message"] for line in lines if "source" in line] == ["imported"]
