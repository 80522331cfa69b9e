"""gae_devserver.testing: a test of an app starts the server and drives it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gae_devserver.testing import DevServer, StateApiError
from gae_devserver.testing.processes import descendants, wait_for_end
from tests.helpers.app_folder import copy_app, make_app

SECONDS = 20.0

SHOW_PROJECT = """\
import os

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [os.environ["GOOGLE_CLOUD_PROJECT"].encode()]
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """A server with the app that defers, started once for all tests."""
    work = tmp_path_factory.mktemp("work")
    with DevServer(
        copy_app("deferring", work), python=sys.executable, log_file=work / "log"
    ) as server:
        yield server


@pytest.fixture
def server(running: DevServer) -> DevServer:
    """The server, with nothing stored and nothing queued."""
    running.reset()
    return running


def defer(server: DevServer, name: str, countdown: float = 0) -> int:
    """Defer a task of this name; return the status of the answer."""
    target = f"/defer?function=note&label={name}&_name={name}&_countdown={countdown}"
    return server.post(target).status


def names(server: DevServer) -> list[str]:
    """Return the names of the tasks that wait."""
    return [task.name for task in server.tasks()]


def test_tasks_are_listed_in_the_order_in_which_they_run(server: DevServer) -> None:
    """A listed task has the headers and the payload that the app will receive.

    An advance returns when the tasks that are due by then have run; no other task runs.
    """
    for name, countdown in (("late", 3600), ("soon", 60)):
        assert defer(server, name, countdown) == 200

    soon, late = server.tasks()

    assert (soon.name, late.name) == ("soon", "late")
    assert (soon.queue, soon.method, soon.retry_count) == ("default", "POST", 0)
    assert soon.url == "/_ah/queue/deferred"
    assert 50 < soon.due_in <= 60
    assert soon.headers["content-type"] == "application/octet-stream"
    assert b"soon" in soon.payload

    server.advance(60)

    assert names(server) == ["late"]
    server.wait_for_log(r"task soon .*200")


def test_a_queue_is_paused_resumed_and_purged(server: DevServer) -> None:
    """A purge deletes tasks and keeps their names, which a reset frees."""
    server.pause()
    defer(server, "waits")
    server.advance(1)
    assert names(server) == ["waits"]
    server.resume()
    server.advance(0)
    assert names(server) == []

    defer(server, "purged", 60)
    server.purge()
    assert names(server) == []
    assert defer(server, "purged", 60) == 409

    server.reset()
    assert defer(server, "purged", 60) == 200


def test_an_answer_comes_as_it_is(server: DevServer) -> None:
    """Status, headers and body; a target is sent byte for byte."""
    answer = server.get("/a/../b?c")
    assert (answer.status, answer.text) == (404, "only /defer is here")
    assert answer.content_type == "text/plain"
    server.wait_for_log(r"GET /a/\.\./b\?c 404")


def test_the_state_api_says_what_is_wrong(server: DevServer) -> None:
    """A call that it refuses is an error with its status and its text."""
    with pytest.raises(StateApiError, match="missing") as error:
        server.purge("missing")
    assert error.value.status == 404
    with pytest.raises(StateApiError, match="'missing'") as error:
        server.tasks("missing")
    assert error.value.status == 404


def test_an_app_that_does_not_start(tmp_path: Path) -> None:
    """The error shows what the server and the app printed."""
    app = make_app(tmp_path / "app", "raise RuntimeError('broken app')")
    with pytest.raises(RuntimeError, match=r"(?s)broken app.*gae-devserver: error: "):
        DevServer(app, python=sys.executable, log_file=tmp_path / "log")


def test_what_is_not_printed_in_time(server: DevServer) -> None:
    """The error shows what was printed instead."""
    server.get("/looked-for")
    server.wait_for_log("GET /looked-for 404")
    with pytest.raises(TimeoutError, match=r"(?s)not there.*GET /looked-for 404"):
        server.wait_for_log("not there", seconds=0)


def test_start_and_end(tmp_path: Path) -> None:
    """Options of the command line apply; after the `with` block no process is left."""
    app = make_app(tmp_path / "app", SHOW_PROJECT)
    options = ("--project", "another-project")
    with DevServer(
        app, *options, python=sys.executable, log_file=tmp_path / "log"
    ) as server:
        assert server.get("/").text == "another-project"
        processes = {server.pid} | descendants(server.pid)
    wait_for_end(processes, SECONDS)
