"""docs/testing.md: its commands and its examples run as they are."""

import inspect
import pathlib
import re
import shlex
import sys
import typing

import pytest
from gae_devserver.testing import (
    Blob,
    DevServer,
    Entity,
    Failure,
    Index,
    Mail,
    Response,
    Service,
    TaskRun,
)

from tests.commands.pages import blocks, code, commands, first_cells, page, section
from tests.commands.running import nox, run

PAGE = page("docs/testing.md")
OTHER_FILES = "What the test stores", "Without a server"
EXAMPLES = [
    x
    for x in blocks(PAGE, "python")
    if not any(x in section(PAGE, title) for title in OTHER_FILES)
]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with my_app, the tests and the environment, all as the page says."""
    folder = tmp_path_factory.mktemp("testing")
    text = section(PAGE, "Set it up")
    for command in commands(text):
        program, *arguments = shlex.split(command.replace("../", f"{folder}/"))
        if arguments[0] == "noxfile.py":
            done = nox(*arguments[1:])
        else:
            program = sys.executable if program == "python3" else program
            done = run(program, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
    (settings,) = blocks(text, "ini")
    (folder / "pytest.ini").write_text(settings)
    (folder / "test_counter.py").write_text("\n\n".join(EXAMPLES))
    (folder / "clone").mkdir()
    return folder


def run_section(title: str, folder: pathlib.Path, cache: dict[str, str]) -> str:
    """Run the commands of a section in a folder; return what they print."""
    script = "\n".join(commands(section(PAGE, title)))
    done = run("sh", "-ec", script, folder=folder, **cache)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("title", "folder"), [("The first test", "clone"), ("In parallel", "")]
)
def test_examples_run(
    title: str, folder: str, work: pathlib.Path, own_cache: dict[str, str]
) -> None:
    """The example and what the page adds to it pass, each of its tests."""
    printed = run_section(title, work / folder, own_cache)

    tests = len(re.findall(r"^def test_", "".join(EXAMPLES), re.MULTILINE))
    assert tests > 1
    assert f"{tests} passed" in printed


def test_examples_have_types(work: pathlib.Path) -> None:
    """The page's examples pass mypy --strict with the package that pip installed."""
    python = work / "venv" / "bin" / "python"
    options = ("--strict", f"--python-executable={python}", "--cache-dir=mypy")
    done = run(sys.executable, "-m", "mypy", *options, "test_counter.py", folder=work)

    assert done.returncode == 0, done.stdout + done.stderr


def test_example_that_stores_an_entity(
    work: pathlib.Path, own_cache: dict[str, str]
) -> None:
    """The example with a client of the datastore passes with what pip installed."""
    title = "What the test stores"
    (example,) = blocks(section(PAGE, title), "python")
    (work / "test_stored.py").write_text(example)

    assert "1 passed" in run_section(title, work, own_cache)


def test_example_without_a_server(
    work: pathlib.Path, own_cache: dict[str, str]
) -> None:
    """The example with the SDK's testbed passes in the folder of the app."""
    title = "Without a server"
    (example,) = blocks(section(PAGE, title), "python")
    (work / "my_app" / "test_tasks.py").write_text(example)

    assert "1 passed" in run_section(title, work, own_cache)


def test_every_name_is_documented() -> None:
    """The table has what DevServer offers with its arguments, and nothing else."""
    documented = {}
    for cell in code(first_cells(section(PAGE, "What the server object offers"))):
        name, is_call, parameters = cell.rstrip(")").partition("(")
        documented[name] = re.findall(r"(\w+)(?:=[^,]+)?(?:, |$)", parameters)
        if is_call:
            method = DevServer if name == "DevServer" else getattr(DevServer, name)
            expected = [x for x in inspect.signature(method).parameters if x != "self"]
            assert documented[name] == expected, name
    offered = {*dir(DevServer), *typing.get_type_hints(DevServer)}

    assert documented.keys() - {"DevServer"} == {
        name for name in offered if not name.startswith("_")
    }


@pytest.mark.parametrize(
    ("title", "kind"),
    [
        ("response", Response),
        ("service", Service),
        ("task", TaskRun),
        ("entity", Entity),
        ("blob", Blob),
        ("mail", Mail),
        ("index", Index),
        ("failure", Failure),
    ],
)
def test_every_field_is_documented(title: str, kind: type) -> None:
    """The table has the fields and the properties, and nothing else."""
    properties = {name for name, x in vars(kind).items() if isinstance(x, property)}
    documented = set(code(first_cells(section(PAGE, f"Fields of an? {title}"))))

    hints = {name for name in typing.get_type_hints(kind) if not name.startswith("_")}
    assert documented == hints | properties
