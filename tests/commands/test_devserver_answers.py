"""What devserver/README.md shows of answers and log lines is what a server gives."""

import base64
import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
from gae_devserver.testing.requests import send

from tests.commands.test_readme import DEVSERVER, section
from tests.commands.test_readme_commands import TESTING
from tests.commands.test_readme_tables import code, rows
from tests.servers.embedded import Embedded
from tests.servers.staging import REPOSITORY

STATE_API = section(DEVSERVER, "The State API")


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """The Flask app on the dev server."""
    server = Embedded(REPOSITORY / "flask_app", tmp_path_factory.mktemp("answers"))
    yield server
    server.stop()


@pytest.fixture
def counting(embedded: Embedded) -> Embedded:
    """The same, when the first of three tasks has run."""
    embedded.reset()
    assert embedded.get("/counter/increment").status == 200
    embedded.run_due()
    return embedded


def ask(server: Embedded, cell: str) -> Any:
    """Send the request that a cell shows; QUEUE and TASK are such that there are."""
    request, *body = code(cell)
    method, path = request.split()
    task = server.tasks()[0]
    path = path.replace("QUEUE", task.queue).replace("TASK", task.name)
    return server.state(method, path, json.loads(body[0]) if body[:1] else None)


def shown(text: str) -> Any:
    """Return the JSON that a cell shows; `...` stands for anything."""
    (first, *_) = code(text)
    return json.loads(first.replace("[...]", "...").replace("...", "null"))


TABLE = {request: answer for request, _, answer in rows("The State API", DEVSERVER)}


def keys_of_a_task() -> set[str]:
    """Return what the page says that a task has."""
    (line,) = re.findall(r"^A task has .*", STATE_API, re.MULTILINE)
    return set(code(line))


@pytest.mark.parametrize("request_", [x for x in TABLE if "{" in TABLE[x]])
def test_answer(request_: str, counting: Embedded) -> None:
    """An answer has the keys that are shown, and the values where there are some."""
    found = ask(counting, request_)

    wanted = shown(TABLE[request_])
    assert found.keys() == wanted.keys()
    assert {k: found[k] for k, v in wanted.items() if v is not None} == {
        k: v for k, v in wanted.items() if v is not None
    }


def test_the_same(counting: Embedded) -> None:
    """To the next task, the clock is moved with the same answer."""
    (cell,) = (x for x, answer in TABLE.items() if answer == "the same")
    (other,) = (x for x in TABLE if "/clock/advance" in x and x != cell)

    assert ask(counting, cell).keys() == shown(TABLE[other]).keys()


def test_what_a_queue_has(counting: Embedded) -> None:
    """What the table names, and tasks with what the page says that a task has."""
    (queue,) = ask(counting, "`GET /queues`")["queues"]

    assert set(code(TABLE["`GET /queues`"])[1:]) <= queue.keys()
    assert queue["tasks"]
    assert {key for task in queue["tasks"] for key in task} == keys_of_a_task()


def test_what_a_task_has_besides(counting: Embedded) -> None:
    """Alone, a task is shown with its headers and its payload, in base64."""
    (cell,) = (x for x in TABLE if x.startswith("`GET /queues/"))
    task = ask(counting, cell)

    assert set(code(TABLE[cell])) == task.keys() - keys_of_a_task()
    assert len(base64.b64decode(task["payload"])) == task["size"]
    assert "`payload` in base64" in TABLE[cell]


def test_what_an_entity_has(counting: Embedded) -> None:
    """The keys that the table names."""
    (cell,) = (x for x in TABLE if x.startswith("`GET /entities"))
    (entity,) = ask(counting, cell.partition(";")[0])["entities"]

    assert set(code(TABLE[cell])[1:]) == entity.keys()


def test_headers_of_a_change(counting: Embedded) -> None:
    """A change without one of the headers that the page names is an error."""
    (line,) = re.findall(r"^A request that changes .*", STATE_API, re.MULTILINE)
    (error,) = re.findall(r"An error is a status of 400 or more with `(.*)`", STATE_API)
    pairs = [header.partition(": ") for header in code(line)]
    named = [(name, value or counting.token) for name, _, value in pairs]

    assert send(counting.state_url, "POST", "/reset", named, b"{}").status == 200
    for left_out in named:
        sent = [header for header in named if header != left_out]
        answer = send(counting.state_url, "POST", "/reset", sent, b"{}")
        assert answer.status >= 400
        assert json.loads(answer.body).keys() == json.loads(error).keys()
    assert len(named) == 2


def test_what_nothing_answers(embedded: Embedded) -> None:
    """The paths of which the page says so."""
    (line,) = re.findall(r"nothing answers (.*)\.", DEVSERVER)

    assert len(code(line)) > 1
    assert {embedded.get(path).status for path in code(line)} == {404}


def without_numbers(log: str) -> list[str]:
    """Return lines of a log without times, names of tasks and how long it took."""
    return re.sub(r"\d\d:\d\d:\d\d|\b\d{15,}|\d+(?= ms)", "N", log).splitlines()


MAIN = """\
from google.appengine.api import wrap_wsgi_app
from google.appengine.ext import deferred

import tasks


def start(environ, start_response):
    deferred.defer(tasks.count)
    deferred.defer(tasks.count, _countdown=60)
    start_response("200 OK", [])
    return []


app = wrap_wsgi_app(start, use_deferred=True)
"""


def test_log_lines(tmp_path: pathlib.Path) -> None:
    """The lines that are shown are logged."""
    text = section(DEVSERVER, "Log lines")
    (lines,) = re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "app.yaml").write_text("runtime: python313\napp_engine_apis: true\n")
    (tmp_path / "main.py").write_text(MAIN)
    (tmp_path / "tasks.py").write_text("def count():\n    pass\n")

    server = Embedded(tmp_path, tmp_path)
    try:
        server.get("/start")
        server.run_due()
        log = server.log()
    finally:
        server.stop()

    assert len(lines.splitlines()) > 3
    assert set(without_numbers(lines)) <= set(without_numbers(log))


def test_a_failing_task(tmp_path: pathlib.Path) -> None:
    """Its line is as shown, and it is tried again when docs/testing.md says."""
    (line,) = re.findall(r"`(task \.\.\. .*)`\.", section(DEVSERVER, "Log lines"))
    (delays,) = re.findall(r"answers 500 is tried again after (.*) and so on", TESTING)
    faults = ("--faults", "error=1,seed=7")
    server = Embedded(REPOSITORY / "flask_app", tmp_path, *faults)
    try:
        server.get("/counter/increment")
        server.advance(5)
        log = server.log()
    finally:
        server.stop()

    wanted = re.escape(line).replace(r"\.\.\.", r"\d+").replace("12", r"\d+")
    assert re.fullmatch(wanted, re.findall(r"task .*; next attempt .*", log)[0])
    found = re.findall(r"next attempt in (.* s)", log)
    assert delays.split(", ") == found[: len(delays.split(", "))]
