"""README.md: its commands and examples run, and print what is shown.

Also the commands of CONTRIBUTING.md and the example of docs/your-app.md.
"""

import pathlib
import re
import shlex
import shutil
import sys
from collections.abc import Iterator

import pytest
from gae_devserver.testing import wait_until

from tests.commands.pages import blocks, commands, first_cells, page, section
from tests.commands.running import Started, nox, run, start_nox
from tests.servers.embedded import Embedded
from tests.servers.staging import REPOSITORY

README = page("README.md")
CONTRIBUTING = page("CONTRIBUTING.md")
SHELL = "".join(blocks(README, "console"))
"""The README's examples of a terminal."""

SHORT = {
    "chaos": "nox -s chaos -- --chaos-calls 20 -k 'counts_once and plain_wsgi'",
    '"integration(devserver)" -- tests/fuzz --hypothesis-profile many': (
        "nox -s 'integration(devserver)' -- tests/fuzz"
    ),
}
"""A command that takes long -> the same with less to do."""


@pytest.fixture(scope="session")
def sessions() -> dict[str, bool]:
    """The sessions of noxfile.py, with their variants; whether `nox` runs them."""
    listed = re.findall(
        r"^([*-]) (\w+(?:\(\w+\))?)", nox("--list").stdout, re.MULTILINE
    )
    return {name: mark == "*" for mark, name in listed}


def test_every_session_is_named(sessions: dict[str, bool]) -> None:
    """The commands of README.md and CONTRIBUTING.md name every session, and no other.

    Every variant is named for one app.
    """
    lines = re.findall(r"(?:nox|noxfile\.py) -s ([^`\n]+)", README + CONTRIBUTING)
    named = {word for line in lines for word in shlex.split(line.partition(" -- ")[0])}
    names = {x.partition("(")[0] for x in sessions}

    assert "serve" in names
    assert named <= {*sessions, *names}
    assert names <= {x.partition("(")[0] for x in named}
    assert {x for x in sessions if x.startswith("flask(")} <= named


def test_what_nox_prints_is_shown(sessions: dict[str, bool]) -> None:
    """The README shows how many sessions run, and only sessions that do."""
    default = [name for name, runs in sessions.items() if runs]
    shown = re.findall(r"^nox > \* (\w+(?:\(\w+\))?): ", README, re.MULTILINE)

    assert f"nox > Ran {len(default)} sessions in " in README
    assert shown
    assert shown == [session for session in default if session in shown]


@pytest.mark.parametrize("command", SHORT)
def test_command(command: str) -> None:
    """A command that takes long works in its short form."""
    assert f"nox -s {command}" in CONTRIBUTING
    done = nox(*shlex.split(SHORT[command])[1:])

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "was successful" in done.stderr
    assert "no tests ran" not in done.stdout


# --- the dev server -------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """The Flask app, served as the README says, but on a free port."""
    command = ("-s", "serve", "--", "flask", "--port", "0")
    work = tmp_path_factory.mktemp("served")
    with start_nox(*command, work=work) as served:
        served.wait_for("Press Ctrl-C")
        yield served


def without_numbers(text: str) -> str:
    """Return a text with each port, token and decimal number replaced."""
    text = re.sub(r"\b[0-9a-f]{32}\b|(?<=127\.0\.0\.1:)\d+", "N", text)
    return re.sub(r"\d+\.\d+(?!\.)", "N", text)


def test_serve_prints_what_is_shown(served: Started) -> None:
    """The banner is printed line by line, and the README leaves out no line of it."""
    after = SHELL.partition("$ python3 noxfile.py -s serve -- flask\n...\n")[2]
    shown = without_numbers(after.partition("\n$ ")[0])

    assert len(shown.splitlines()) > 5
    assert f"\n{shown}\n" in without_numbers(served.log)


def test_curl_prints_what_is_shown(served: Started) -> None:
    """The three requests of the README get the answers that it shows."""
    if not shutil.which("curl"):
        pytest.skip("there is no curl")
    app, state_api, token = (
        served.wait_for(rf"^  {name} +(?:http://)?(\S+)$")
        for name in ("App", "State API", "Token")
    )
    here = re.sub(r"127\.0\.0\.1:\d+(?=/clock)", state_api, SHELL)
    here = re.sub(r"Token: \w+", f"Token: {token}", here)
    here = here.replace("127.0.0.1:8080/counter", f"{app}/counter")
    shown = re.findall(r"^\$ curl (.*)\n(.*)$", here, re.MULTILINE)
    assert len(shown) == 3
    for arguments, answer in shown:
        command = ["curl", "--silent", "--show-error", *shlex.split(arguments)]

        def is_shown(command: list[str] = command, answer: str = answer) -> bool:
            done = run(*command)
            assert done.returncode == 0, done.stderr
            return without_numbers(done.stdout) == without_numbers(answer)

        # the count rises a moment after the answer of the page that increments
        wait_until(is_shown, f"{command} prints {answer}", interval=0.2)


# --- the examples ---------------------------------------------------------------------


def test_example_of_a_test(tmp_path: pathlib.Path) -> None:
    """The example with the virtual clock runs on a copy of an app."""
    copied = nox("-s", "copy", "--", "flask", tmp_path / "my_app")
    text = section(README, "Test your own tasks")
    (example,) = blocks(text, "python")
    (command,) = commands(text)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_counter.py").write_text(example)
    without = ("-p", "no:asyncio", "-o", f"devserver_options=--python={sys.executable}")

    pytest_command = (sys.executable, "-m", *shlex.split(command), *without)
    done = run(*pytest_command, folder=tmp_path / "tests")

    assert copied.returncode == 0, copied.stderr
    assert done.returncode == 0, done.stdout


FLASK = """\
from flask import Flask

app = Flask(__name__)
"""


def test_an_app_of_ones_own(tmp_path: pathlib.Path) -> None:
    """The files and lines that docs/your-app.md names are enough for any app."""
    text = page("docs/your-app.md")
    folder = tmp_path / "own"
    (folder / "shared").mkdir(parents=True)
    for name in re.findall(r"`(\w+\.py)`", first_cells(section(text, "Files to copy"))):
        shutil.copy(REPOSITORY / "shared" / name, folder / "shared")
    (settings,) = blocks(text, "yaml")
    wrapped, tasks, view = blocks(text, "python")
    imports, call = view.rsplit("\n\n", 1)
    start = f'@app.route("/")\ndef start():\n    {call}    return "soon"\n'
    (folder / "app.yaml").write_text("runtime: python313\n" + settings)
    (folder / "main.py").write_text("\n".join([FLASK, wrapped, imports, start]))
    (folder / "tasks.py").write_text(tasks)

    with Embedded(folder, tmp_path) as server:
        assert server.get("/").text == "soon"
        server.run_due()
        (visits,) = server.state("GET", "/entities?kind=Visits")["entities"]
        assert visits["properties"] == {"count": 1}
        assert server.get("/_ah/queue/deferred").status == 405
        assert server.post("/_ah/queue/deferred").status == 403
