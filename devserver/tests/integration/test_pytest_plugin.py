"""The pytest plugin: the fixture `devserver` in a project of a user."""

import re
from pathlib import Path

import pytest

from tests.helpers.app_folder import copy_app, make_app
from tests.helpers.command import OWN_PYTHON, run_python

TWICE = """\
import pytest

@pytest.mark.parametrize("number", [1, 2])
def test_starts_with_nothing(devserver, number):
    target = "/defer?function=note&label=a&_name=a&_countdown=9"
    assert devserver.post(target).status == 200
    assert devserver.run_next_task().name == "a"
    devserver.pause()
    devserver.post("/defer?function=note&label=b")
    assert len(devserver.tasks()) == 1
"""
FAILS = """\
def test_fails(devserver):
    devserver.post("/defer?function=note&label=a")
    devserver.purge("missing")
"""
TWO = """\
def test_two(devserver):
    for name in devserver.services:
        assert devserver.service(name).get("/").text == "hello"
    assert name == "worker"
"""
UNUSED = """\
import sys

def test_unused():
    assert "gae_devserver.testing" not in sys.modules
"""


def run_pytest(
    folder: Path, test: str, *options: str, ini: str = "", server: str = ""
) -> str:
    """Run a test in a folder with a configuration file; return what pytest prints."""
    settings = f"filterwarnings = error\ndevserver_options = {OWN_PYTHON} {server}"
    (folder / "pytest.ini").write_text(f"[pytest]\n{settings}\n{ini}")
    (folder / "test_it.py").write_text(test)
    # our environment's pytest-asyncio warns about a setting that a user may not have
    without = ("-p", "no:cacheprovider", "-p", "no:asyncio")
    done = run_python("-m", "pytest", *without, *options, cwd=folder)
    assert done.stderr == ""
    return done.stdout


def test_each_test_starts_with_nothing(tmp_path: Path) -> None:
    """Tasks, their names, the clock and pauses of one test are gone in the next."""
    copy_app("deferring", tmp_path)
    ini = "devserver_app = the-option-is-stronger"
    printed = run_pytest(tmp_path, TWICE, "--devserver-app=deferring", ini=ini)
    assert "2 passed" in printed


def test_a_failure_shows_what_the_server_printed(tmp_path: Path) -> None:
    """The traceback shows the test alone; the settings of the file apply."""
    copy_app("deferring", tmp_path)
    ini, server = "devserver_app = deferring", "--log-level debug"
    printed = run_pytest(tmp_path, FAILS, ini=ini, server=server)
    assert "1 failed" in printed
    assert "queue 'missing'" in printed
    assert "dev_server.py" not in printed
    assert "API call taskqueue" in printed  # a line of that log level


@pytest.mark.parametrize("where", ["option", "ini"])
def test_several_services(where: str, tmp_path: Path) -> None:
    """Repeat the option, or name the services on a line each."""
    names = ["default", "worker"]
    for name in names:
        make_app(tmp_path / name, app_yaml=f"service: {name}\n")
    options = [f"--devserver-app={name}" for name in names] * (where == "option")
    ini = "devserver_app =\n    default\n    worker" * (where == "ini")
    assert "1 passed" in run_pytest(tmp_path, TWO, *options, ini=ini)


def test_a_missing_setting(tmp_path: Path) -> None:
    """The error names the option and the setting, without a traceback."""
    printed = run_pytest(tmp_path, FAILS)
    assert "1 error" in printed
    assert "--devserver-app" in printed
    assert "devserver_app =" in printed
    assert "pytest_plugin.py" not in printed


def test_an_app_that_does_not_start(tmp_path: Path) -> None:
    """The error shows what the server printed, without a traceback of the fixture."""
    make_app(tmp_path / "app", "raise RuntimeError('broken app')")
    printed = run_pytest(tmp_path, FAILS, "--devserver-app=app")
    assert "1 error" in printed
    assert re.search("(?s)broken app.*gae-devserver: error: ", printed)
    assert "pytest_plugin.py" not in printed


def test_a_run_without_the_fixture(tmp_path: Path) -> None:
    """It imports nothing of the server."""
    assert "1 passed" in run_pytest(tmp_path, UNUSED)
