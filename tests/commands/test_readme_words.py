"""What the README says around its tables is so: options, diagram, files, versions."""

import ast
import io
import os
import pathlib
import re
from http import HTTPStatus
from typing import NoReturn

import pytest
from gae_devserver import __main__
from google.appengine.ext import deferred

from shared import counter
from tests.commands import cloud_sdk
from tests.commands.test_readme import README, first_cells, section
from tests.commands.test_readme_commands import blocks
from tests.commands.test_readme_tables import PATHS, code, deferred_calls, rows
from tests.servers.staging import APPS, REPOSITORY

PYTHON2 = (REPOSITORY / "docs" / "python2-to-python3.md").read_text()
NOXFILE = (REPOSITORY / "noxfile.py").read_text()


def source_of(function: str, file: str = "noxfile.py") -> str:
    """Return a function's source without importing its file."""
    text = (REPOSITORY / file).read_text()
    (found,) = (
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef) and node.name == function
    )
    return ast.get_source_segment(text, found) or ""


# --- options ---


def test_what_options_take() -> None:
    """An option is shown with what it takes, and with all that it can be."""
    table = rows("The dev server")
    for action in __main__._parser()._actions:
        if action.nargs == 0 or not action.option_strings:
            continue
        (option,) = action.option_strings
        ((shown, meaning),) = (x for x in table if f"`{option} " in x[0])
        # argparse itself would show the name of --log-level's in full, or its choices
        taken = str(action.metavar or action.dest.upper()).rpartition("_")[2]
        assert shown == f"`{option} {taken}`"
        if action.choices:
            assert code(meaning) == [*action.choices, action.default]
    assert len(table) > 5


def test_ports() -> None:
    """What --help says of port 0, the README says too; a port in use is the default."""
    (port,) = (x for x in __main__._parser()._actions if x.dest == "port")
    (meaning,) = (x for shown, x in rows("The dev server") if "--port" in shown)

    assert (port.help or "").partition(" (default")[0].split("; ")[1] in meaning
    assert re.findall(r"`Port (\d+) is in use", README) == [str(port.default)]


def test_options_of_deploy() -> None:
    """The section names each option that `deploy` and `e2e` take, and no others."""
    text = section(README, "Deploy")
    sources = source_of("deploy") + source_of("e2e")
    named = set(re.findall(r"--[a-z][\w-]+", text))

    assert set(re.findall(r'add_argument\("(--[\w-]+)', sources)) <= named
    assert named <= set(re.findall(r'"(--[\w-]+)', sources))
    assert "{chosen.app}-%Y%m%dt%H%M%S" in sources
    assert "another name than app, date and time" in text


def test_options_of_dev_appserver() -> None:
    """What the README names of dev_appserver.py's options, `serve` gives it."""
    given = set(re.findall(r'"(--\w+)', source_of("command", COMMAND)))
    named = {x for row in rows("Troubleshooting") for x in re.findall(r"--\w+", row[1])}
    (own,) = (x for x in source_of("main", COMMAND).split("add_argument(") if "--" in x)

    assert named - {"--port", "--server"} <= given
    assert "--runtime_python_path" in named
    assert own.split('"')[1] == "--port"
    assert "`--port PORT` is its one option" in section(README, "Google's dev server")


COMMAND = "tests/servers/dev_appserver_command.py"


# --- the diagram ---

DIAGRAM = section(README, "How a deferred call travels")


def test_diagram_names_what_there_is() -> None:
    """Its files, its paths, and the call that the apps make."""
    ((_, _, _, call), *_) = deferred_calls("flask")
    called = ast.parse(call.partition("(")[2].rstrip(")")).body[0]
    assert isinstance(called, ast.Expr)
    assert isinstance(called.value, ast.Tuple)
    function, *arguments = map(ast.unparse, called.value.elts)

    for file in re.findall(r"\S+\.py", DIAGRAM):
        folders = APPS.values() if file == "main.py" else [""]
        assert all((REPOSITORY / folder / file).is_file() for folder in folders), file
    assert f"main.py        {call}\n" in DIAGRAM
    assert f"shared/counter.py           {function}({', '.join(arguments)})" in DIAGRAM
    assert set(re.findall(r"(?:GET|POST) (/\S+?)(?=[\s,])", DIAGRAM)) < set(PATHS)


def test_function_runs_in_a_transaction() -> None:
    """The diagram says so: the outermost decorator makes one."""
    tree = ast.parse((REPOSITORY / "shared" / "counter.py").read_text())
    (function,) = (x for x in tree.body if isinstance(x, ast.FunctionDef))

    assert function.name == counter.do_something_later.__name__
    assert ast.unparse(function.decorator_list[0]) == "ndb.transactional"
    assert f"{function.name}(my_key, 10), in a transaction\n" in DIAGRAM


def test_statuses_of_the_guard() -> None:
    """The diagram has those with which it refuses."""
    refused = re.findall(
        r'start_response\("(\d+)', source_of("guard", "shared/guard.py")
    )

    assert f"shared/guard.py             answers {' or '.join(refused)} to" in DIAGRAM


def answer_to(headers: dict[str, str], sender: str = "0.1.0.2") -> tuple[str, int]:
    """Return what the SDK's handler answers to a request; an exception is a 500."""
    environ = {
        "SERVER_SOFTWARE": "gunicorn",
        "REMOTE_ADDR": sender,
        "wsgi.input": io.BytesIO(),
        **headers,
    }
    try:
        text, status, _ = deferred.Handler().post(environ)
    except OSError:
        return "", HTTPStatus.INTERNAL_SERVER_ERROR
    return text, status


@pytest.mark.parametrize("failure", ["PermanentTaskFailure", "SingularTaskFailure", ""])
def test_statuses_of_the_handler(failure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The diagram has what the queue sees of a task that is done, or that fails."""

    def fail(payload: bytes) -> NoReturn:
        raise getattr(deferred, failure, OSError)

    task = {"HTTP_X_APPENGINE_TASKNAME": "task1"}
    monkeypatch.setattr("google.appengine.ext.deferred.deferred.run", print)
    _, done = answer_to(task)
    monkeypatch.setattr("google.appengine.ext.deferred.deferred.run", fail)
    _, status = answer_to(task)

    lines = {
        int(number): text
        for numbers, text in re.findall(r"^  ([\d or]+): (.*)$", DIAGRAM, re.MULTILINE)
        for number in numbers.split(" or ")
    }
    assert lines[done].startswith("done")
    assert (failure or "any other exception") in lines[status]


# --- what to copy ---


def test_files_to_copy() -> None:
    """The table has all of `shared` but what belongs to the sample's counter."""
    table = re.findall(
        r"`(\w+\.py)`", first_cells(section(README, "Copy it into your app"))
    )
    there = {file.name for file in (REPOSITORY / "shared").glob("*.py")}

    assert {*table, "counter.py", "cloud_ndb.py"} == there
    assert not {"counter.py", "cloud_ndb.py"} & {*table}


def test_lines_to_change() -> None:
    """The three lines, and what they import, are those of the Flask sample."""
    text = section(README, "Copy it into your app")
    (settings,) = blocks(text, "yaml")
    (*_, last) = blocks(text, "python")
    (imports,) = re.findall(r"^It takes `(.*)` and `(.*)`\.$", text, re.MULTILINE)
    flask = REPOSITORY / "flask_app"

    assert set(settings.splitlines()) <= lines_of(flask / "app.yaml")
    assert {*last.splitlines(), *imports} <= lines_of(flask / "main.py")


def lines_of(file: pathlib.Path) -> set[str]:
    """Return the lines of a file."""
    return set(file.read_text().splitlines())


# --- versions ---


def test_google_cloud_cli(tmp_path: pathlib.Path) -> None:
    """All pages name one release, the one that is here where CI runs.

    Who has another one has not made the pages wrong.
    """
    named = re.findall(r"Google Cloud CLI (\d+)", README + PYTHON2)
    assert len(named) > 1
    assert len(set(named)) == 1
    printed = cloud_sdk.gcloud("version", config=tmp_path).stdout
    (found,) = re.findall(r"^Google Cloud SDK (\d+)\.", printed, re.MULTILINE)
    if found != named[0] and "CI" not in os.environ:
        pytest.skip(f"here is the Google Cloud CLI {found}")

    assert named[0] == found


def test_oldest_python() -> None:
    """The range of the versions that can run this is noxfile.py's."""
    oldest, newest = (
        re.findall(rf"^{name}.*= \((\d), (\d+)\)", NOXFILE, re.MULTILINE)[0]
        for name in ("OLDEST_PYTHON", "NEWEST_PYTHON")
    )
    named = re.findall(r"Python (3\.\d+), 3\.\d+ (?:or|and) (3\.\d+)", README)

    assert named
    assert set(named) == {(".".join(oldest), ".".join(newest))}


def test_what_is_installed_without_the_lock() -> None:
    """The README names each session that does so; `serve`, for an app elsewhere."""
    sessions = NOXFILE.partition("# --- what the user says")[0].split("@nox.session")
    without = {
        re.findall(r"^def (\w+)", text, re.MULTILINE)[0]
        for text in sessions
        if "locked=False" in text
    }
    (line,) = re.findall(r"\nnox itself, .*, are installed without it", README)

    assert {*code(line), "serve"} == without
    assert "an app in another folder" in line
