"""The apps of docs/frameworks.md run, with an IDE's environment and in CI too."""

import contextlib
import pathlib
import re
import shlex
import shutil
import sys
from collections.abc import Iterator

import pytest
from gae_devserver.testing import wait_until
from gae_devserver.testing.requests import send
from ruamel.yaml import YAML

from tests.commands.pages import blocks, commands, files, page, section
from tests.commands.running import Started, run

FRAMEWORKS, README = page("docs/frameworks.md"), page("devserver/README.md")
IDE = section(README, "The Python of your IDE")
CI = section(README, "In CI")
LOCK = dict(re.findall(r"(?m)^([\w-]+)==(\S+)", page("requirements-lock.txt")))
TEST = """\
def test_visit(devserver):
    devserver.get("/")
    assert devserver.run_next_task().status == 200
    assert devserver.get("/").text == "1 visits\\n"
"""


def pinned(requirements: str) -> str:
    """Return a list with the releases that are tested, as far as they are locked."""

    def pin(name: re.Match[str]) -> str:
        return f"{name[0]}=={LOCK[name[0]]}" if name[0] in LOCK else name[0]

    return re.sub(r"(?m)^[\w-]+$", pin, requirements)


def make_app(folder: pathlib.Path, *titles: str) -> pathlib.Path:
    """Make the folder of an app out of the files that sections show."""
    for title in ("Frameworks", *titles):
        for path, content in files(section(FRAMEWORKS + README, title)).items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(pinned(content) if path == "requirements.txt" else content)
    return folder


def run_all(commands: list[str], folder: pathlib.Path, **variables: str) -> None:
    """Run commands of a shell in a folder."""
    done = run("sh", "-ec", "\n".join(commands), folder=folder, **variables)
    assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def serving(
    command: str, folder: pathlib.Path, work: pathlib.Path, **variables: str
) -> Iterator[tuple[Started, str]]:
    """Run a server, with a port that is free; yield it and the app's address."""
    words = shlex.split(f"{command} --port 0")
    with Started("env", *words, folder=folder, work=work, **variables) as server:
        server.wait_for("Press Ctrl-C")
        yield server, server.wait_for(r"^  App +(http://\S+)$")


def check_that_visits_count(url: str) -> None:
    """A task counts each visit, soon after it."""
    counted = re.compile(r"[1-9]\d* visits\n")
    wait_until(lambda: counted.fullmatch(send(url, "GET", "/").text), "a visit counts")


@pytest.fixture
def empty_cache(own_cache: dict[str, str], tmp_path: pathlib.Path) -> dict[str, str]:
    """Variables for a cache of environments that is empty."""
    return own_cache | {"XDG_CACHE_HOME": str(tmp_path / "cache")}


@pytest.mark.parametrize("framework", ["Flask", "Bottle"])
def test_framework(
    framework: str, empty_cache: dict[str, str], tmp_path: pathlib.Path
) -> None:
    """The server makes the example's environment, says so as shown, and serves it."""
    make_app(tmp_path / "my_app", "Flask", framework)
    (shown,) = (x for x in blocks(README, "console") if "$ gae-devserver my_app\n" in x)
    command, installing = shown.splitlines()[:2]

    with serving(command[2:], tmp_path, tmp_path, **empty_cache) as (server, url):
        check_that_visits_count(url)

    def without_numbers(text: str) -> str:
        return re.sub(r"\d\d:\d\d:\d\d|3\.\d+|\b[0-9a-f]{16}\b", "N", text)

    installing = installing.replace("~/.cache", empty_cache["XDG_CACHE_HOME"])
    assert without_numbers(installing) in without_numbers(server.log)


def test_django(empty_cache: dict[str, str], tmp_path: pathlib.Path) -> None:
    """The changes to a new project make it run, with its static files."""
    text = section(FRAMEWORKS, "Django")
    (start,) = re.findall(r"`django-admin (.*?)`", text)
    folder = make_app(tmp_path / "project", "Django")
    shutil.rmtree(folder / "mysite")
    run_all([f"gae-devserver run . -m django {start}"], folder, **empty_cache)
    make_app(folder, "Django")
    (settings,) = (x for x in blocks(text, "python") if not x.startswith("# "))
    with (folder / "mysite" / "settings.py").open("a") as file:
        file.write(settings)
    *prepare, serve = commands(text)
    run_all(prepare, folder, **empty_cache)

    with serving(serve, folder, tmp_path, **empty_cache) as (_, url):
        check_that_visits_count(url)
        assert send(url, "GET", "/static/admin/css/base.css").status == 200
        assert send(url, "GET", "/admin/login/").status == 200


def test_ci(
    wheel: pathlib.Path, empty_cache: dict[str, str], tmp_path: pathlib.Path
) -> None:
    """The commands install what a test needs; the workflow is valid and runs them."""
    folder = make_app(tmp_path / "my_app", "Flask", "In CI")
    (folder / "test_visits.py").write_text(TEST)
    (folder / "pytest.ini").write_text("[pytest]\ndevserver_app = .\n")
    (workflow,) = folder.glob(".github/workflows/*.yml")
    shown = commands(CI)

    for schema in (
        "vendor.github-workflows",
        "custom.github-workflows-require-timeout",
    ):
        check = ("-m", "check_jsonschema", "--builtin-schema", schema)
        done = run(sys.executable, *check, workflow)
        assert done.returncode == 0, done.stdout
    (job,) = YAML(typ="safe", pure=True).load(workflow)["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == shown
    script = [re.sub(r'"gae-devserver .*"', str(wheel), command) for command in shown]
    run_all(script, folder, **empty_cache)
