"""devserver/README.md: its tables are complete, and its examples run."""

import json
import pathlib
import re
import shlex
import sys

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


def app(work: pathlib.Path, tasks: str = "def count():\n    pass\n") -> pathlib.Path:
    """Make the folder of an app whose deferred function is in `tasks`."""
    folder = work / "my_app"
    folder.mkdir()
    (folder / "app.yaml").write_text("runtime: python313\napp_engine_apis: true\n")
    (folder / "main.py").write_text(MAIN)
    (folder / "tasks.py").write_text(tasks)
    return folder


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
    folder = app(tmp_path)

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
    folder = app(tmp_path, TASKS)
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


# --- the datastore for other programs -------------------------------------------------

ADD_IN_PARALLEL = """
from concurrent.futures import ThreadPoolExecutor

with ThreadPoolExecutor(4) as threads:
    list(threads.map(add, ["visits"] * 12, [1] * 12))
"""


@pytest.mark.parametrize("without_grpc", ["", "True"])
def test_transactions_of_another_program(
    without_grpc: str, tmp_path: pathlib.Path
) -> None:
    """The example counts exactly in parallel, and curl finds the counter."""
    (example,) = blocks(section(PAGE, "Transactions of Cloud NDB"), "python")
    (command,) = commands(section(PAGE, "Datastore for Cloud NDB"))
    folder = app(tmp_path)
    script = tmp_path / "add.py"
    script.write_text(example + ADD_IN_PARALLEL)

    with Embedded(folder, tmp_path) as server:
        done = run(
            sys.executable,
            script,
            DATASTORE_EMULATOR_HOST=server.datastore_host,
            GOOGLE_CLOUD_PROJECT="sample-project",
            GOOGLE_CLOUD_DISABLE_GRPC=without_grpc,
        )
        assert done.returncode == 0, done.stderr
        address = re.sub(r"127\.0\.0\.1:\d+", server.datastore_host, command)
        found = json.loads(run(*shlex.split(address)).stdout)

    (result,) = found["batch"]["entityResults"]
    assert result["entity"]["properties"] == {"count": {"integerValue": "12"}}


def test_a_client_of_the_admin_api(tmp_path: pathlib.Path) -> None:
    """The example connects a client to the server, which lists its indexes."""
    (example,) = blocks(section(PAGE, "Datastore for Cloud NDB"), "python")
    folder = app(tmp_path)
    (folder / "index.yaml").write_text(
        "indexes:\n- kind: A\n  properties:\n  - name: b\n  - name: c\n"
    )
    script = tmp_path / "indexes.py"
    listing = 'print(*(x.kind for x in client.list_indexes({"project_id": PROJECT})))'
    script.write_text(example + listing.replace("PROJECT", '"sample-project"'))

    with Embedded(folder, tmp_path) as server:
        host = server.datastore_host
        done = run(sys.executable, script, DATASTORE_EMULATOR_HOST=host)

    assert (done.returncode, done.stdout) == (0, "A\n"), done.stderr
