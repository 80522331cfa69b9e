"""The dev server, installed alone as its README says, runs an app that is no sample."""

import os
import pathlib
import sys

import pytest

from tests.commands.pages import page
from tests.commands.running import STOP_SECONDS, Started, run
from tests.servers.staging import REPOSITORY

MAIN = """\
from google.appengine.api import memcache, wrap_wsgi_app
from google.appengine.ext import deferred

import later


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/defer":
        deferred.defer(later.note, "done")
    return [(memcache.get("noted") or "nothing").encode()]


app = wrap_wsgi_app(application, use_deferred=True)
"""
LATER = """\
from google.appengine.api import memcache


def note(text):
    memcache.set("noted", text)
"""
USE = """\
from gae_devserver.testing import DevServer

with DevServer("own_app", log_file="log") as server:
    assert server.get("/defer").text == "nothing"
    server.advance(0)
    assert server.get("/").text == "done", server.log()
"""


def build_wheel(folder: pathlib.Path) -> pathlib.Path:
    """Return a wheel of the dev server, built as its README says."""
    command = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder)
    built = run(*command, REPOSITORY / "devserver", folder=folder)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = folder.glob("gae_devserver-*.whl")
    return wheel


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A cache for the app's environment, which is the same in each test."""
    return str(tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize("by_git", [False, True], ids=["wheel", "git"])
def test_app_runs(by_git: bool, tmp_path: pathlib.Path, cache: str) -> None:
    """From a new environment, command and module serve the app; its task runs."""
    if by_git:
        if not (REPOSITORY / ".git").exists():
            pytest.skip("this copy of the repository was made without git")
        # without the name: pip takes that only before a URL that has a host
        source = f"git+{REPOSITORY.as_uri()}#subdirectory=devserver"
    else:
        source = str(build_wheel(tmp_path))
    app = tmp_path / "own_app"
    app.mkdir()
    (app / "app.yaml").write_text("runtime: python313\napp_engine_apis: true\n")
    (app / "main.py").write_text(MAIN)
    (app / "later.py").write_text(LATER)
    # the releases that are tested, as the newest ones may differ
    pins = page("plain_wsgi_app/requirements.txt")
    (app / "requirements.txt").write_text(pins)
    commands = tmp_path / "venv" / "bin"

    run(sys.executable, "-m", "venv", tmp_path / "venv")
    pip = (commands / "python", "-m", "pip", "install", "--quiet")
    installed = run(*pip, source, folder=tmp_path)
    assert installed.returncode == 0, installed.stdout + installed.stderr
    # the tests' own packages are on their PATH
    pip_cache = os.environ.get("PIP_CACHE_DIR", pathlib.Path.home() / ".cache" / "pip")
    own = {
        "PATH": os.defpath,
        "PIP_CACHE_DIR": str(pip_cache),
        "XDG_CACHE_HOME": cache,
    }
    used = run(commands / "python", "-c", USE, folder=tmp_path, **own)
    command = (commands / "gae-devserver", app, "--port", "0")
    with Started(*command, work=tmp_path, folder=tmp_path, **own) as server:
        server.wait_for("Press Ctrl-C")
        server.process.terminate()
        assert server.process.wait(STOP_SECONDS) == 0

    assert used.returncode == 0, used.stderr
