"""A server answers and prints what devserver/README.md shows."""

import base64
import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
from gae_devserver.testing.requests import send

from tests.commands.pages import blocks, code, rows, section
from tests.commands.test_devserver_page import PAGE
from tests.servers.embedded import Embedded
from tests.servers.staging import REPOSITORY


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


TABLE = {request: answer for request, _, answer in rows(section(PAGE, "The State API"))}


def fields(title: str) -> set[str]:
    """Return the names in the first column of a table."""
    return {code(name)[0] for name, _ in rows(section(PAGE, title))}


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
    """Its fields are those of the table."""
    (queue,) = ask(counting, "`GET /queues`")["queues"]

    assert queue.keys() == fields("Fields of a queue")


def test_what_a_task_has(counting: Embedded) -> None:
    """Its fields are those of the table; in the list of a queue it has fewer."""
    (queue,) = ask(counting, "`GET /queues`")["queues"]
    (cell,) = (x for x in TABLE if x.startswith("`GET /queues/"))
    task = ask(counting, cell)

    assert task.keys() == fields("Fields of a task")
    assert queue["tasks"][0].keys() == task.keys() - {"headers", "payload"}
    assert len(base64.b64decode(task["payload"])) == task["size"]


def test_what_an_entity_has(counting: Embedded) -> None:
    """The keys that the table names."""
    (cell,) = (x for x in TABLE if x.startswith("`GET /entities"))
    (entity,) = ask(counting, cell.partition(";")[0])["entities"]

    assert set(code(TABLE[cell])[1:]) == entity.keys()


def test_headers_of_a_write(counting: Embedded) -> None:
    """A write without one of the headers of the table is an error."""
    named = [
        (code(name)[0], code(value)[0] if code(value) else counting.token)
        for name, value in rows(section(PAGE, "Headers of a write"))
    ]

    assert send(counting.state_url, "POST", "/reset", named, b"{}").status == 200
    for left_out in named:
        sent = [header for header in named if header != left_out]
        answer = send(counting.state_url, "POST", "/reset", sent, b"{}")
        assert answer.status >= 400
        assert json.loads(answer.body).keys() == {"error"}
    assert len(named) == 2


def test_what_does_not_exist(embedded: Embedded) -> None:
    """The paths of the table of what is not emulated are a 404."""
    table = rows(section(PAGE, "What it does not emulate"))
    paths = [x for _, what in table for x in code(what) if x.startswith("/")]

    assert len(paths) > 1
    assert {embedded.get(path).status for path in paths} == {404}


def without_numbers(log: str) -> list[str]:
    """Return lines without times, durations, ports, tokens and names of tasks."""
    log = re.sub(r"\b[0-9a-f]{32}\b|(?<=127\.0\.0\.1:)\d+", "N", log)
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


@pytest.fixture
def my_app(tmp_path: pathlib.Path) -> pathlib.Path:
    """An app that defers a function now and in a minute."""
    folder = tmp_path / "my_app"
    folder.mkdir()
    (folder / "app.yaml").write_text("runtime: python313\napp_engine_apis: true\n")
    (folder / "main.py").write_text(MAIN)
    (folder / "tasks.py").write_text("def count():\n    pass\n")
    return folder


def test_output(my_app: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """The banner and the log lines that are shown are printed."""
    (banner,) = (x for x in blocks(PAGE, "console") if "$ gae-devserver my_app" in x)
    lines, _ = blocks(section(PAGE, "Log lines"), "")

    server = Embedded(my_app, tmp_path)
    try:
        server.get("/start")
        server.run_due()
        log = server.log()
    finally:
        server.stop()

    shown = without_numbers(banner.partition("\n")[2] + lines)
    assert len(shown) > 10
    assert [line for line in shown if line not in without_numbers(log)] == []


def test_line_of_a_failed_task(my_app: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """The line that is shown is logged."""
    _, line = blocks(section(PAGE, "Log lines"), "")

    server = Embedded(my_app, tmp_path, "--faults", "error=1,seed=7")
    try:
        server.get("/start")
        server.run_due()
        log = server.log()
    finally:
        server.stop()

    assert set(without_numbers(line)) <= set(without_numbers(log))
