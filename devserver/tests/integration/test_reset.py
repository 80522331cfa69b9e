"""A reset while the app works, and tasks that the app never ends, with a real app."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from gae_devserver.testing import DevServer, wait_until
from gae_devserver.testing.processes import descendants, running
from tests.helpers.app_folder import make_app

# One thread: the app is dead as soon as a request never ends.
ENTRYPOINT = "gunicorn --no-control-socket --threads 1 --timeout 0 main:app"
MAIN = """\
import pathlib, threading

from google.appengine.api import taskqueue, wrap_wsgi_app

def serve(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/hang":
        pathlib.Path("hangs").touch()
        threading.Event().wait()
    elif path == "/again":
        taskqueue.add(url="/again")
    elif path == "/add":
        once = taskqueue.TaskRetryOptions(task_retry_limit=0)
        taskqueue.add(url=environ["QUERY_STRING"], retry_options=once)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [path.encode()]

app = wrap_wsgi_app(serve)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An app that adds tasks, some of which never end."""
    apis = "app_engine_apis: true\n"
    return make_app(tmp_path / "app", MAIN, apis, entrypoint=ENTRYPOINT)


@pytest.fixture
def server(folder: Path) -> Iterator[DevServer]:
    """A server with that app."""
    with DevServer(folder, python=sys.executable) as started:
        yield started


def test_a_task_that_adds_itself_ends_with_a_reset(server: DevServer) -> None:
    """No task of before runs afterwards, and the app has the same process."""
    before = descendants(server.pid)
    server.post("/add?/again")
    server.wait_for_log("POST /add")
    server.reset()
    assert server.run_next_task() is None
    assert server.tasks() == []
    assert running(before) == before


@pytest.mark.parametrize("by", ["task", "visitor"])
def test_a_request_that_never_ends_is_ended_by_a_reset(
    server: DevServer, folder: Path, by: str
) -> None:
    """The app has a new process when the reset is answered; a warning says why."""
    before = descendants(server.pid)
    if by == "task":
        server.post("/add?/hang")
    else:
        Thread(target=server.get, args=["/hang"], daemon=True).start()
    wait_until((folder / "hangs").exists, "the request hangs", 20)
    server.reset()
    assert not running(before)
    assert re.search("the app restarts.*/hang", server.log_file.read_text())
    assert server.get("/").text == "/"
    assert server.tasks() == []


def test_a_task_over_its_deadline_does_not_block_the_app(folder: Path) -> None:
    """The app gets a new process, and the log names the task and the option."""
    options = ["--task-deadline", "0.5"]
    with DevServer(folder, *options, python=sys.executable) as server:
        before = descendants(server.pid)
        server.post("/add?/hang")
        server.wait_for_log(r"restarts.*/hang.*0\.5 s.*--task-deadline")
        assert server.get("/").text == "/"
        wait_until(lambda: not running(before), "the old process ends", 20)
