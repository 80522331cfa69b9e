"""The blocks and the tables of arguments of docs/python2-to-python3.md."""

import datetime
import decimal
import importlib
import pathlib
import re
from typing import Any

import pytest
from google.appengine.ext import deferred, testbed
from ruamel.yaml import YAML

from shared.counter import Counter
from tests.apps.python2 import Python2
from tests.commands import pages
from tests.servers.staging import REPOSITORY

TEXT = pages.page("docs/python2-to-python3.md")

received: list[Any] = []


def note(argument: Any) -> None:
    """Record what a task calls it with."""
    received.append(argument)


@pytest.fixture(scope="module")
def python2(tmp_path_factory: pytest.TempPathFactory) -> Python2:
    """A Python 2.7 with modules of its own."""
    return Python2(tmp_path_factory.mktemp("python2"))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_python3_runs_the_tasks_of_python2(
    number: int, python2: Python2, services: testbed.Testbed
) -> None:
    """Tasks that Python 2 pickled, in any of its protocols, count in Python 3."""
    for task in (
        "(do_something_later, ('key', 10), {})",
        "(do_something_later, (u'key',), {'amount': 10L})",
        "(do_something_later, (), {'key': 'key', 'amount': 10})",
    ):
        for payload in python2.dump(task, number):
            deferred.run(payload)

    assert Counter.get_by_id("key").count == 3 * 2 * 10


def rows(title: str) -> list[tuple[str, str]]:
    """Return the cells of the table in a section of the page."""
    table = pages.rows(pages.section(TEXT, title))
    return [(argument.strip("`"), outcome) for argument, outcome in table]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_arguments_from_python2(number: int, python2: Python2) -> None:
    """Arguments arrive in Python 3 as the page's table says, or the task is dropped."""
    for argument, outcome in rows("Queued by Python 2, run by Python 3"):
        for payload in python2.dump(f"(note, ({argument},), {{}})", number):
            received.clear()
            try:
                deferred.run(payload)
            except deferred.PermanentTaskFailure as failure:
                error = type(failure.args[0]).__name__
                assert outcome == f"dropped: `{error}`", argument
            else:
                assert repr(received) == repr([value_of(outcome)]), argument


def value_of(expression: str) -> Any:
    """Return the value of an expression that the page shows."""
    names = {"datetime": datetime, "decimal": decimal, "pathlib": pathlib}
    return eval(expression.strip("`"), {**names, "Decimal": decimal.Decimal})


def test_arguments_from_python3(
    python2: Python2, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arguments arrive in Python 2 as the page's table says, or not at all."""
    monkeypatch.setenv("DEFERRED_USE_CROSS_COMPATIBLE_PICKLE_PROTOCOL", "True")
    table = rows("Queued by Python 3, run by Python 2")
    payloads = [deferred.serialize(note, value_of(argument)) for argument, _ in table]

    for (argument, outcome), shown in zip(table, python2.load(*payloads), strict=True):
        if outcome.startswith("not loaded"):
            error = outcome.removeprefix("not loaded: ").strip("`")
            assert shown.startswith(f"{error}: "), argument
        else:
            assert outcome == f"`{shown}`", argument


def blocks() -> list[tuple[str, str, str]]:
    """Return each block of the page: the line above it, its language and its text."""
    # [^`]: no block contains a backtick, so each ends at the next fence
    found = re.findall(r"^(.+)\n\n```(\w+)\n([^`]*)^```$", TEXT, re.MULTILINE)
    assert len(found) == TEXT.count("```") / 2
    return found


def test_new_blocks_are_python3() -> None:
    """The blocks from the samples are Python 3, and their names exist in shared."""
    new = [x for x in blocks() if x[1] == "python" and not x[0].startswith("Python 2")]

    for above, _, text in new:
        file = file_of(above)
        compile(text, file, "exec")
        if file.startswith("shared/"):
            module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
            for name in re.findall(r"^(?:def|class) (\w+)", text, re.MULTILINE):
                assert hasattr(module, name)
    assert len(new) == 9


def test_settings_that_the_page_shows() -> None:
    """The page shows the settings of the samples' app.yaml."""
    (text,) = (x for above, _, x in blocks() if "(../flask_app/app.yaml)" in above)
    yaml = YAML(typ="safe", pure=True)

    assert yaml.load(text) == yaml.load(REPOSITORY / "flask_app" / "app.yaml")


def file_of(line: str) -> str:
    """Return the file that the line above a block links to."""
    [(shown, link)] = re.findall(r"^\[(.*?)\]\((.*?)\)", line)
    assert link == f"../{shown}"
    return str(shown)


def test_old_blocks_are_python2(python2: Python2) -> None:
    """The blocks under "Python 2" are programs of Python 2."""
    old = [text for above, _, text in blocks() if above.startswith("Python 2")]
    programs = [text for text in old if "runtime:" not in text and "- " not in text]

    assert len(programs) == 4
    python2.compile(programs)
