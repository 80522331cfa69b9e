"""docs/testing.md: its commands and its examples run as they are."""

import inspect
import pathlib
import re
import shlex
import sys

import pytest
from gae_devserver.testing import DevServer

from tests.commands.pages import blocks, commands, first_cells, page, section
from tests.commands.running import nox, run

PAGE = page("docs/testing.md")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with my_app and the environment, both made as the page says."""
    folder = tmp_path_factory.mktemp("testing")
    for command in commands(section(PAGE, "Set it up")):
        program, *arguments = shlex.split(command.replace("../", f"{folder}/"))
        if arguments[0] == "noxfile.py":
            done = nox(*arguments[1:])
        else:
            program = sys.executable if program == "python3" else program
            done = run(program, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_examples_run(work: pathlib.Path) -> None:
    """The example and what the page adds to it pass, each of its tests."""
    examples = [x for x in blocks(PAGE, "python") if "testbed" not in x]
    (work / "test_counter.py").write_text("\n\n".join(examples))
    *_, command = commands(section(PAGE, "The example"))
    program, *arguments = shlex.split(command)

    done = run(work / program, *arguments, folder=work)

    assert done.returncode == 0, done.stdout + done.stderr
    tests = len(re.findall(r"^def test_", "".join(examples), re.MULTILINE))
    assert tests > 1
    assert f"{tests} passed" in done.stdout


def test_example_without_a_server(work: pathlib.Path) -> None:
    """The example with the SDK's testbed passes in the folder of the app."""
    (example,) = (x for x in blocks(PAGE, "python") if "testbed" in x)
    (work / "my_app" / "test_unit.py").write_text(example)

    done = run(work / "venv" / "bin" / "pytest", "my_app/test_unit.py", folder=work)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_every_name_is_documented() -> None:
    """The table has what DevServer offers, and nothing else."""
    table = first_cells(section(PAGE, "What the server object offers"))
    named = set(re.findall(r"`(\w+)", table))
    offered = {*vars(DevServer), *inspect.get_annotations(DevServer)}

    assert named - {"DevServer"} == {x for x in offered if not x.startswith("_")}
