"""docs/several-services.md: its files, its commands and its tests run as they are."""

import pathlib
import re
import shlex
import sys
from urllib.parse import urlsplit

import pytest
from gae_devserver.testing import wait_until
from gae_devserver.testing.requests import send

from tests.commands.pages import blocks, commands, files, page, section
from tests.commands.running import nox, run, start_nox

PAGE = page("docs/several-services.md")
WORKER = section(PAGE, "A worker beside the Flask sample")
ONE_FOLDER = section(PAGE, "Both services in one folder")
COPY, LINK, SERVE, *CURL = commands(WORKER)


def words(command: str, folder: pathlib.Path) -> list[str]:
    """Return the words of a command, with `my_app` in this folder."""
    return shlex.split(command.replace("../my_app", f"{folder}/my_app"))


@pytest.fixture
def work(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder with my_app and its tests, made as the page says."""
    done = nox(*words(COPY, tmp_path)[2:])
    assert done.returncode == 0, done.stderr
    (tmp_path / "my_app" / "worker").mkdir()
    for path, content in files(WORKER).items():
        (tmp_path / "my_app" / path).write_text(content)
    assert run(*words(LINK, tmp_path)).returncode == 0
    for path, content in files(section(PAGE, "Its tests")).items():
        (tmp_path / path).write_text(content)
    return tmp_path


def run_tests(folder: pathlib.Path, cache: dict[str, str], *options: str) -> str:
    """Run the page's tests; return what pytest prints."""
    command = (sys.executable, "-m", "pytest", *options)
    return run(*command, folder=folder, **cache).stdout


def test_tests(work: pathlib.Path, own_cache: dict[str, str]) -> None:
    """The tests pass, and both services get an environment of their own."""
    printed = run_tests(work, own_cache)
    assert "2 passed" in printed, printed


def test_one_folder(work: pathlib.Path, own_cache: dict[str, str]) -> None:
    """A worker that shares the folder needs nothing but its YAML file."""
    for path, content in files(ONE_FOLDER).items():
        (work / "my_app" / path).write_text(content)
    (serve,) = commands(ONE_FOLDER)
    apps = [f"--devserver-app={app}" for app in words(serve, work)[5:]]
    printed = run_tests(work, own_cache, *apps, "-k", "tasks")
    assert "1 passed" in printed, printed


def test_commands(work: pathlib.Path, own_cache: dict[str, str]) -> None:
    """The services start and answer, and the log looks as the page shows it."""
    ((console, curl), log) = blocks(WORKER, "console")[-2:], blocks(WORKER, "text")[1]
    assert console.strip() == f"$ {SERVE}"
    command = (*words(SERVE, work)[2:], "--port", "0")
    with start_nox(*command, work=work, **own_cache) as serving:
        url = serving.wait_for(r"^  App +(http://\S+)$")
        for asked, expected in re.findall(r"\$ curl (\S+)\n(.*)\n", curl):
            path = urlsplit(asked).path

            def answers(path: str = path, expected: str = expected) -> bool:
                return send(url, "GET", path).text.strip() == expected

            wait_until(answers, f"{path} answers {expected}")
        for line in log.splitlines():
            pattern = re.sub(r"\\?[\d:]+", r"[\\d:]+", re.escape(line))
            serving.wait_for(f"^{pattern}$")
