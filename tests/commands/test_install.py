"""The dev server, installed alone as its README says, runs an app that is no sample."""

import os
import pathlib
import re
import subprocess
import sys
import urllib.request

import pytest

from tests.commands.running import MINUTES, environment, run
from tests.servers.staging import REPOSITORY

DEVSERVER = REPOSITORY / "devserver"

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


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """An app without an entrypoint, a framework or anything else of this repository."""
    folder = tmp_path_factory.mktemp("own") / "own_app"
    folder.mkdir()
    (folder / "app.yaml").write_text("runtime: python313\napp_engine_apis: true\n")
    (folder / "main.py").write_text(MAIN)
    (folder / "later.py").write_text(LATER)
    return folder


def build_wheel(folder: pathlib.Path) -> pathlib.Path:
    """Return a wheel of the dev server, built as its README says."""
    command = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder)
    built = run(*command, DEVSERVER, folder=folder)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = folder.glob("gae_devserver-*.whl")
    return wheel


@pytest.fixture(scope="module", params=["folder", "wheel", "git"])
def installed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    """The commands of a new environment with the dev server, and gunicorn."""
    folder = tmp_path_factory.mktemp("installed")
    what: pathlib.Path | str = DEVSERVER
    if request.param == "wheel":
        what = build_wheel(folder)
    elif request.param == "git":
        if not (REPOSITORY / ".git").exists():
            pytest.skip("this copy of the repository was made without git")
        # without the name, which pip takes only before a URL that has a host
        what = f"git+{REPOSITORY.as_uri()}#subdirectory=devserver"
    made = run(sys.executable, "-m", "venv", folder / "venv", folder=folder)
    assert made.returncode == 0, made.stderr
    commands = folder / "venv" / "bin"
    pip = (commands / "python", "-m", "pip", "install", "--quiet")
    # the release that is tested, as the newest one may differ
    requirements = (REPOSITORY / "plain_wsgi_app" / "requirements.txt").read_text()
    (gunicorn,) = re.findall(r"^gunicorn==\S+", requirements, re.MULTILINE)
    done = run(*pip, what, gunicorn, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return commands


@pytest.mark.parametrize(
    "command", [["gae-devserver"], ["python", "-m", "gae_devserver"]]
)
def test_app_runs(
    command: list[str],
    installed: pathlib.Path,
    app: pathlib.Path,
    tmp_path: pathlib.Path,
) -> None:
    """The command and the module serve the app, and its deferred task runs."""
    program, *arguments = command
    log = tmp_path / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [installed / program, *arguments, app, "--port", "0"],
            cwd=tmp_path,
            env=environment(PATH=os.defpath),
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
        )
    try:
        assert server.stdout
        banner = ""
        while "Press Ctrl-C" not in banner:
            line = server.stdout.readline()
            assert line, log.read_text()
            banner += line
        url, state_api, token = re.findall(
            r"^  (?:App|State API|Token) +(\S+)", banner, re.MULTILINE
        )
        assert get(f"{url}/defer") == "nothing"
        headers = {"X-Devserver-Token": token, "Content-Type": "application/json"}
        advance = f"{state_api}/clock/advance"
        get(urllib.request.Request(advance, b'{"seconds": 0}', headers))

        assert get(url) == "done", log.read_text()
    finally:
        server.terminate()
        server.communicate(timeout=MINUTES)

    assert server.returncode == 0


def get(request: str | urllib.request.Request) -> str:
    """Return the text of an answer."""
    with urllib.request.urlopen(request, timeout=MINUTES) as answer:
        text: str = answer.read().decode()
        return text
