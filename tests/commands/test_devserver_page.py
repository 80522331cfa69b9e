"""devserver/README.md: its tables are complete, and a server answers as they say."""

import base64
import json
import pathlib
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from gae_devserver import faults
from gae_devserver.config import warnings
from gae_devserver.testing import DevServer

from tests.commands.pages import (
    blocks,
    code,
    commands,
    first_cells,
    page,
    rows,
    section,
)
from tests.commands.running import COMMANDS, run
from tests.servers.embedded import Embedded
from tests.servers.staging import REPOSITORY

PAGE = page("devserver/README.md")

# --- options, settings, faults --------------------------------------------------------


def test_every_option_is_documented() -> None:
    """The table has the options of --help, with the defaults that are one word."""
    command = (sys.executable, "-m", "gae_devserver", "--help")
    # the text of a long option is on the next line
    printed = re.sub(r"\n {20,}", "  ", run(*command, COLUMNS="1000").stdout)
    offered = {}
    for line in re.findall(r"^ +(--\w.*)$", printed, re.MULTILINE):
        default = re.search(r"\(default: ([\w-]+)\)", line)
        for option in line.partition("  ")[0].split(", "):
            offered[option.split()[0]] = default and f"`{default[1]}`"
    documented = {
        option.split()[0]: default
        for options, _, default in rows(section(PAGE, "Options"))
        for option in code(options)
    }

    assert list(documented) == list(offered)
    defaults = {option: default for option, default in offered.items() if default}
    assert len(defaults) > 4
    assert defaults.items() <= documented.items()


def test_what_is_not_emulated_is_documented() -> None:
    """The section names each setting and each file for which the server warns."""
    listed = section(PAGE, "What it does not emulate")
    for name in (*warnings.SETTINGS, *warnings.FILES):
        assert f"`{name}`" in listed


def test_every_fault_is_documented() -> None:
    """The table has the faults that --faults knows, and no others."""
    named = re.findall(r"`(\w+)`", first_cells(section(PAGE, "Faults on purpose")))

    assert sorted(named) == sorted(faults.NAMES)


# --- the State API --------------------------------------------------------------------

TABLE = {request: answer for request, _, answer in rows(section(PAGE, "The State API"))}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """The Flask app on the dev server, with a cron job and an index."""
    work = tmp_path_factory.mktemp("answers")
    app = shutil.copytree(REPOSITORY / "flask_app", work / "app")
    (app / "cron.yaml").write_text("cron: [{url: /daily, schedule: every day 9:00}]\n")
    index = "{kind: A, properties: [{name: a}, {name: b}]}"
    (app / "index.yaml").write_text(f"indexes: [{index}]\n")
    with Embedded(app, work) as server:
        yield server


@pytest.fixture
def counting(server: Embedded) -> Embedded:
    """The server when the first of three tasks has run."""
    server.reset()
    assert server.get("/counter/increment").status == 200
    server.run_due()
    return server


def ask(server: Embedded, request: str) -> Any:
    """Send the request of the row that starts so, about a task or an attempt."""
    (cell,) = (x for x in TABLE if x.startswith(f"`{request}"))
    shown, *body = code(cell.partition(";")[0])
    method, path = shown.split()
    task = server.tasks()[0]
    path = path.replace("QUEUE", task.queue).replace("TASK", task.name)
    if "NUMBER" in path:
        (attempt,) = server.state("GET", "/attempts")["attempts"]
        path = path.replace("NUMBER", str(attempt["number"]))
    return server.state(method, path, json.loads(body[0]) if body else None)


def fields(title: str) -> set[str]:
    """Return the names in the first column of a table."""
    return set(code(first_cells(section(PAGE, title))))


@pytest.mark.parametrize(
    "cell", [x for x in TABLE if "{" in TABLE[x] or "same" in TABLE[x]]
)
def test_answer(cell: str, counting: Embedded) -> None:
    """An answer has the keys of the table, and the values if the table has any."""
    answer = TABLE[cell]
    if answer == "the same":
        (answer,) = (x for x in TABLE.values() if "tasks_run" in x)
    shown = code(answer)[0].replace("[...]", "...").replace("...", "null")
    wanted = json.loads(shown)

    found = ask(counting, cell[1:])

    assert found.keys() == wanted.keys()
    values = {key: value for key, value in wanted.items() if value is not None}
    assert {key: found[key] for key in values} == values


def test_fields(counting: Embedded) -> None:
    """Services, queues, tasks, entities and others have the fields of the tables.

    A task has fewer in the list of its queue.
    """
    (service,) = ask(counting, "GET /services")["services"]
    (queue,) = ask(counting, "GET /queues`")["queues"]
    task = ask(counting, "GET /queues/QUEUE/tasks/TASK`")
    (entity,) = ask(counting, "GET /entities?")["entities"]

    assert service.keys() == fields("Fields of a service")
    assert queue.keys() == fields("Fields of a queue")
    assert task.keys() == fields("Fields of a task")
    fewer = {"headers", "payload", "call", "arguments", "object", "stored_at"}
    fewer |= {"unreadable", "attempts", "added_by", "content"}
    assert queue["tasks"][0].keys() == task.keys() - fewer
    (attempt,) = ask(counting, "GET /attempts`")["attempts"]
    assert attempt.keys() == fields("Fields of an attempt")
    assert len(base64.b64decode(task["payload"])) == task["size"]
    (shown,) = (code(x)[1:] for x in TABLE.values() if "entities" in x)
    assert entity.keys() == set(shown)
    (job,) = ask(counting, "GET /cron")["jobs"]
    assert job.keys() == fields("Fields of a cron job")
    number = ask(counting, "GET /requests`")["requests"][0]["number"]
    request = counting.state("GET", f"/requests/{number}")
    assert request.keys() == fields("Fields of a request")
    (index,) = ask(counting, "GET /indexes")["existing"]
    assert index.keys() == fields("Fields of an index")


# --- ASGI apps ------------------------------------------------------------------------


def test_asgi_app(tmp_path: pathlib.Path) -> None:
    """The example defers and makes calls, with the packages that it lists."""
    example = section(page("docs/frameworks.md"), r"ASGI apps \(FastAPI, Starlette\)")
    for file, language in (
        ("main.py", "python"),
        ("app.yaml", "yaml"),
        ("requirements.txt", "text"),
    ):
        (text,) = blocks(example, language)
        (tmp_path / file).write_text(text)

    with DevServer(tmp_path, log_file=tmp_path / "server.log") as server:
        assert json.loads(server.get("/").text) == {"count": None}
        server.advance(0)
        assert json.loads(server.get("/").text) == {"count": 1}


# --- what it prints -------------------------------------------------------------------

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


def without_numbers(log: str) -> str:
    """Return a log without times, durations, ports, tokens and names of tasks."""
    log = re.sub(r"\b[0-9a-f]{32}\b|(?<=127\.0\.0\.1:)\d+", "N", log)
    return re.sub(r"\d\d:\d\d:\d\d|\d+(?=…)|\d+(?= ms)", "N", log)


@pytest.mark.parametrize("options", [(), ("--faults", "error=1,seed=7")])
def test_output(options: tuple[str, ...], tmp_path: pathlib.Path) -> None:
    """The server prints the page's log lines, and its banner with no other line."""
    (shown,) = (x for x in blocks(PAGE, "console") if "$ gae-devserver my_app\n" in x)
    lines, line_of_a_failure = blocks(section(PAGE, "Log lines"), "")
    # the lines before it are about the installation, which this server does not do
    banner = shown.partition("\n...\n")[2]
    texts = [line_of_a_failure] if options else [banner, *lines.splitlines()]
    folder = tmp_path / "my_app"
    folder.mkdir()
    (folder / "app.yaml").write_text("runtime: python313\napp_engine_apis: true\n")
    (folder / "main.py").write_text(MAIN)
    (folder / "tasks.py").write_text("def count():\n    pass\n")

    with Embedded(folder, tmp_path, *options) as server:
        server.get("/start")
        server.run_due()
        log = without_numbers(server.log())

    assert [text for text in map(without_numbers, texts) if text not in log] == []


# --- a shell, a script ----------------------------------------------------------------

TASKS = """\
from google.appengine.ext import ndb


class Counter(ndb.Model):
    total = ndb.IntegerProperty(default=0)


def count(name):
    counter = Counter.get_by_id(name)
    counter.total += 1
    counter.put()
"""
# Runs lines of its stdin as a shell does: it prints their values.
TYPED = "for line in {!r}: exec(compile(line, '<stdin>', 'single'))"


def test_shell_and_script(tmp_path: pathlib.Path) -> None:
    """The shell answers as shown; the server runs the task that the script stores."""
    folder = tmp_path / "my_app"
    folder.mkdir()
    (folder / "app.yaml").write_text("runtime: python313\napp_engine_apis: true\n")
    (folder / "main.py").write_text(MAIN)
    (folder / "tasks.py").write_text(TASKS)
    text = section(PAGE, "A shell, a script")
    (script,) = blocks(text, "python")
    (tmp_path / "fill.py").write_text(script)
    shown = blocks(text, "console")[0]
    typed = re.findall(r"^>>> (.*)", shown, re.MULTILINE)

    results = []
    for command, stdin in zip(commands(text), (TYPED.format(typed), ""), strict=True):
        program, *words = shlex.split(command)
        python = f"--python={sys.executable}"
        words = [words[0], python, *words[1:]]
        results.append(run(COMMANDS / program, *words, folder=tmp_path, stdin=stdin))

    for done in results:
        assert done.returncode == 0, done.stderr
    assert shown.endswith(f"{typed[-1]}\n{results[0].stdout}")
    with Embedded(folder, tmp_path, f"--storage={tmp_path / 'data'}") as server:
        server.run_due()
        (entity,) = server.state("GET", "/entities?kind=Counter")["entities"]
        assert entity["properties"] == {"total": 11}
