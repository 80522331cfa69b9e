"""Apps with manual or basic scaling: their start, background threads and end."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gae_devserver.testing import DevServer, ServerEndedError
from tests.helpers.app_folder import make_app
from tests.helpers.command import OWN_PYTHON

MAIN = """\
import os
import time

from google.appengine.api import background_thread, memcache, runtime, wrap_wsgi_app


def work(*args, **kwargs):
    memcache.incr("done", initial_value=0)
    print("thread", os.getpid(), args, kwargs, flush=True)
    while not runtime.is_shutting_down() and "loop" in args:
        time.sleep(0.01)
    if "fail" in args:
        raise ValueError("failed on purpose")
    print("thread ends", flush=True)


def answer(environ, start_response):
    path = environ["PATH_INFO"].lstrip("/")
    print("path", path, environ["REMOTE_ADDR"], flush=True)
    status, text = "200 OK", str(os.getpid())
    if path.startswith("thread"):
        try:
            background_thread.start_new_background_thread(work, [path[7:]], {"a": 2})
        except background_thread.Error as error:
            status, text = "500 Error", f"{type(error).__name__}: {error}"
    elif path == "_ah/start":
        if "AT_START" in os.environ:
            background_thread.start_new_background_thread(work, ["at start"])
        status = os.environ.get("START", "404 Not Found")
    elif path == "count":
        text = str(memcache.get("done"))
    start_response(status, [("Content-Type", "text/plain")])
    return [text.encode()]


app = wrap_wsgi_app(answer)
"""
APIS = "app_engine_apis: true\n"
MANUAL = APIS + "manual_scaling:\n  instances: 1\n"
BASIC = APIS + "basic_scaling:\n  max_instances: 1\n"
AT_START = "env_variables: {AT_START: 'yes', WEB_CONCURRENCY: '3'}\n"


def make(folder: Path, app_yaml: str, entrypoint: str | None = None) -> Path:
    """Make an app, whose app.yaml has no entrypoint unless it is given."""
    made = make_app(folder, MAIN, app_yaml, entrypoint)
    if entrypoint is None:
        file = made / "app.yaml"
        lines = file.read_text().splitlines()
        kept = [line for line in lines if not line.startswith("entrypoint")]
        file.write_text("\n".join(kept))
    return made


@pytest.fixture(scope="module", params=["manual", "basic"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DevServer]:
    """A server whose app has no entrypoint, or one that leaves the workers open."""
    folder = tmp_path_factory.mktemp("work") / "app"
    if request.param == "manual":
        make(folder, MANUAL + AT_START)
    else:
        entrypoint = "gunicorn --no-control-socket --threads 20 main:app"
        make(folder, BASIC + AT_START, entrypoint)
    with DevServer(folder, OWN_PYTHON) as server:
        yield server


def test_the_start(server: DevServer) -> None:
    """The app gets /_ah/start first, may start a thread there, and answer 404."""
    server.get("/")
    server.wait_for_log("^path  127.0.0.1")
    log = server.log()
    assert log.index("path _ah/start 0.1.0.3") < log.index("path  127.0.0.1")
    server.wait_for_log("thread .*'at start'")


def test_a_background_thread(server: DevServer) -> None:
    """It runs in the process that asked for it, makes API calls, and may fail."""
    before = int(server.get("/count").text)
    process = server.get("/thread/x").text
    server.wait_for_log(rf"thread {process} \('x',\) {{'a': 2}}")
    assert int(server.get("/count").text) == before + 1
    server.get("/thread/fail")
    server.wait_for_log("failed on purpose")
    server.wait_for_log("/_ah/background: a background thread failed")
    assert server.get("/").status == 200


def test_no_more_than_ten_threads(server: DevServer) -> None:
    """The app has free threads beside them, and they learn of the server's end."""
    server.wait_for_log("background thread has ended")  # the one at the start
    start = len(server.log())
    answers = [server.get("/thread/loop") for _ in range(11)]
    assert [answer.status for answer in answers] == [200] * 10 + [500]
    assert "LimitReached" in answers[-1].text
    assert server.get("/").status == 200
    server.stop()
    assert "thread ends" in server.log()[start:]


@pytest.mark.parametrize(
    ("app_yaml", "entrypoint", "error", "fact"),
    [
        (APIS, None, "FrontendsNotSupported", "manual_scaling"),
        (MANUAL, "gunicorn -w 2 --threads 2 main:app", "Error", "2 processes"),
    ],
)
def test_an_app_that_can_have_no_background_thread(
    tmp_path: Path, app_yaml: str, entrypoint: str | None, error: str, fact: str
) -> None:
    """The error says what to change; with automatic scaling, no /_ah/start is sent."""
    folder = make(tmp_path / "app", app_yaml, entrypoint)
    with DevServer(folder, OWN_PYTHON) as server:
        answer = server.get("/thread/x")
        assert answer.status == 500
        assert answer.text.startswith(f"{error}: ")
        assert fact in answer.text
        assert ("_ah/start" in server.log()) is (app_yaml == MANUAL)


def test_a_start_that_fails(tmp_path: Path) -> None:
    """The server ends and says why, as an app that does not start ends it."""
    variables = "env_variables:\n  START: 503 Service Unavailable\n"
    folder = make(tmp_path / "app", MANUAL + variables)
    with pytest.raises(ServerEndedError, match=r"/_ah/start .*503"):
        DevServer(folder, OWN_PYTHON)
