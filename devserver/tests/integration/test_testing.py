"""gae_devserver.testing: a test of an app starts the server and drives it."""

import datetime
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from gae_devserver.testing import DevServer, Index, ServerEndedError, StateApiError
from gae_devserver.testing.processes import descendants, wait_for_end
from tests.helpers.app_folder import make_app
from tests.helpers.command import OWN_PYTHON
from tests.helpers.datastore_v1 import RawClient, query_fields

SECONDS = 20.0

SHOW_PROJECT = """\
import os

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [os.environ["GOOGLE_CLOUD_PROJECT"].encode()]
"""


def defer(devserver: DevServer, name: str, countdown: float = 0) -> int:
    """Defer a task of this name; return the status of the answer."""
    target = f"/defer?function=note&label={name}&_name={name}&_countdown={countdown}"
    return devserver.post(target).status


def names(devserver: DevServer) -> list[str]:
    """Return the names of the tasks that wait."""
    return [task.name for task in devserver.tasks()]


def test_tasks_are_listed_in_the_order_in_which_they_run(devserver: DevServer) -> None:
    """A listed task has the headers and the payload that the app will receive.

    An advance returns when the tasks that are due by then have run; no other task runs.
    """
    for name, countdown in (("late", 3600), ("soon", 60)):
        assert defer(devserver, name, countdown) == 200

    soon, late = devserver.tasks()

    assert (soon.name, late.name) == ("soon", "late")
    assert (soon.queue, soon.method, soon.retry_count) == ("default", "POST", 0)
    assert soon.url == "/_ah/queue/deferred"
    assert 50 < soon.due_in <= 60
    assert soon.headers["content-type"] == "application/octet-stream"
    assert b"soon" in soon.payload

    devserver.advance(60)

    assert names(devserver) == ["late"]
    devserver.wait_for_log(r"task soon .*200")


def test_a_queue_is_paused_resumed_and_purged(devserver: DevServer) -> None:
    """A purge deletes tasks and keeps their names, which a reset frees."""
    devserver.pause()
    defer(devserver, "waits")
    devserver.advance(1)
    assert names(devserver) == ["waits"]
    devserver.resume()
    devserver.advance(0)
    assert names(devserver) == []

    defer(devserver, "purged", 60)
    devserver.purge()
    assert names(devserver) == []
    assert defer(devserver, "purged", 60) == 409

    devserver.reset()
    assert defer(devserver, "purged", 60) == 200


def test_an_answer_comes_as_it_is(devserver: DevServer) -> None:
    """Status, headers and body; a target is sent byte for byte."""
    answer = devserver.get("/a/../b?c")
    assert (answer.status, answer.text) == (404, "only /defer is here")
    assert answer.content_type == "text/plain"
    devserver.wait_for_log(r"GET /a/\.\./b\?c 404")
    with pytest.raises(TypeError, match="str"):
        devserver.post("/", "text")  # type: ignore[arg-type]


@pytest.mark.parametrize("namespace", ["", "tenant"])
def test_entities_are_listed(devserver: DevServer, namespace: str) -> None:
    """An entity has its key and its properties; a date is text, bytes are bytes."""
    project = "sample-project"
    key = {
        "partition_id": {"project_id": project, "namespace_id": namespace},
        "path": [{"kind": "Shop", "name": "a"}, {"kind": "Order", "id": 7}],
    }
    when = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    raw = {"blob_value": b"\xff"}
    inner = {
        "entity_value": {"properties": {"raw": {"array_value": {"values": [raw]}}}}
    }
    values = {"inner": inner, "raw": raw, "when": {"timestamp_value": when}}
    with closing(RawClient(devserver.datastore_host)) as client:
        client.upsert({"key": key, "properties": values}, project_id=project)

    (entity,) = devserver.entities("Order", namespace)

    assert (entity.key, entity.id) == ((("Shop", "a"), ("Order", 7)), 7)
    shown = {"inner": {"raw": [b"\xff"]}, "raw": b"\xff"}
    assert entity.properties == shown | {"when": "2026-01-02 00:00:00"}
    assert devserver.entities("Order", "another") == []


def test_missing_indexes_are_listed(devserver: DevServer) -> None:
    """A reset forgets what earlier tests needed."""
    fields = query_fields("Order", order=("day", "-total"))
    fields["partition_id"]["project_id"] = "sample-project"
    with closing(RawClient(devserver.datastore_host)) as client:
        client.call("RunQuery", project_id="sample-project", **fields)

    index = Index("Order", False, (("day", "asc"), ("total", "desc")))
    assert devserver.missing_indexes() == [index]
    devserver.wait_for_log(r"Order \(day, total desc\)")

    devserver.reset()
    assert devserver.missing_indexes() == []


def test_many_entities_are_listed(devserver: DevServer) -> None:
    """The list goes on where an answer of the State API is full."""
    names = [f"name-{number}" for number in range(5)]
    long = {"string_value": "x" * 900_000, "exclude_from_indexes": True}
    with closing(RawClient(devserver.datastore_host)) as client:
        for name in names:
            key = {
                "partition_id": {"project_id": "sample-project"},
                "path": [{"kind": "Long", "name": name}],
            }
            entity = {"key": key, "properties": {"text": long}}
            client.upsert(entity, project_id="sample-project")
    assert [entity.id for entity in devserver.entities("Long")] == names


def test_tasks_run_one_by_one(devserver: DevServer) -> None:
    """A task that is due has run by itself; the clock advances to others."""
    defer(devserver, "now")
    devserver.wait_for_log("task now .*200")
    defer(devserver, "later", 3600)

    runs = [devserver.run_next_task(), devserver.run_next_task()]

    found = [(run.name, run.function, run.status) for run in runs if run]
    assert found == [("now", "main.note", 200), ("later", "main.note", 200)]
    assert devserver.run_next_task() is None


def test_headers_are_pairs_or_a_mapping(devserver: DevServer) -> None:
    """A header that no server takes shows that it was sent."""
    for headers in ({"Transfer-Encoding": "x"}, [("Transfer-Encoding", "x")]):
        assert devserver.post("/", b"a", headers).status == 400


WRONG_CALLS: list[tuple[Callable[[DevServer], object], type[Exception], str]] = [
    (lambda server: server.purge("missing"), StateApiError, "404 .*queue 'missing'"),
    (lambda server: server.tasks("missing"), StateApiError, "queue 'missing'"),
    (lambda server: server.entities(""), StateApiError, "400 .*kind"),
    (lambda server: server.service("nowhere"), ValueError, "'nowhere'.* default"),
    (lambda server: server.advance(-1), ValueError, "-1 s"),
    (lambda server: server.advance(float("nan")), ValueError, "nan s"),
]


@pytest.mark.parametrize(("call", "kind", "text"), WRONG_CALLS)
def test_a_call_that_is_refused(
    devserver: DevServer,
    call: Callable[[DevServer], object],
    kind: type[Exception],
    text: str,
) -> None:
    """The error says what is wrong, in plain text."""
    with pytest.raises(kind, match=rf"^[^{{]*{text}"):
        call(devserver)


def test_an_app_that_does_not_start(tmp_path: Path) -> None:
    """The error shows what the server and the app printed."""
    app = make_app(tmp_path / "app", "raise RuntimeError('broken app')")
    shown = r"(?s)status 1.*broken app.*gae-devserver: error: "
    with pytest.raises(ServerEndedError, match=shown):
        DevServer(app, OWN_PYTHON)


def test_what_is_not_printed_in_time(devserver: DevServer) -> None:
    """The error shows what was printed instead; lines before a reset do not match."""
    devserver.get("/before")
    devserver.wait_for_log("GET /before 404")
    devserver.reset()
    devserver.get("/after")
    devserver.wait_for_log("GET /after 404")
    with pytest.raises(TimeoutError, match=r"(?s)not there.*GET /after 404"):
        devserver.wait_for_log("GET /before 404|not there", seconds=0)


def test_start_and_end(tmp_path: Path) -> None:
    """Options of the command line apply; after the `with` block no process is left.

    A log file is kept only if it was given; a later call shows what was printed.
    """
    app = make_app(tmp_path / "app", SHOW_PROJECT)
    options = (OWN_PYTHON, "--project", "another-project")
    with (
        DevServer(app, *options) as server,
        DevServer(app, python=sys.executable, log_file=tmp_path / "log") as other,
    ):
        assert server.get("/").text == "another-project"
        processes = {server.pid} | descendants(server.pid)
        server.kill()
        with pytest.raises(ServerEndedError, match=r"(?s)status -9.*GET / 200"):
            server.get("/")
    wait_for_end(processes, SECONDS)
    assert "GET / 200" in server.log()
    assert not server.log_file.exists()
    assert other.log_file.read_text() == other.log()
