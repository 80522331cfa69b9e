"""The dev server, installed as its README says, runs an app that is no sample."""

import os
import pathlib
import re
import sys

import pytest

from tests.commands.pages import blocks, page, section
from tests.commands.running import STOP_SECONDS, Started, run
from tests.servers.staging import REPOSITORY

SECTION = section(page("devserver/README.md"), "Install it")

MAIN = """\
from google.appengine.api import memcache, wrap_wsgi_app
from google.appengine.ext import deferred

import later


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    noted = memcache.get("noted") or "nothing"
    if environ["PATH_INFO"] == "/defer":
        deferred.defer(later.note, "done")
    return [noted.encode()]


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


@pytest.fixture(scope="module")
def own_app(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """An app with the releases that are tested, as the newest ones may differ."""
    app = tmp_path_factory.mktemp("own") / "own_app"
    app.mkdir()
    (app / "app.yaml").write_text("runtime: python313\napp_engine_apis: true\n")
    (app / "main.py").write_text(MAIN)
    (app / "later.py").write_text(LATER)
    pins = page("plain_wsgi_app/requirements.txt")
    (app / "requirements.txt").write_text(pins)
    return app


@pytest.fixture(scope="module")
def installers(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with pipx and uv."""
    folder = tmp_path_factory.mktemp("installers")
    run(sys.executable, "-m", "venv", folder)
    pip = (folder / "bin" / "python", "-m", "pip", "install", "--quiet")
    installed = run(*pip, "pipx", "uv", folder=folder)
    assert installed.returncode == 0, installed.stdout + installed.stderr
    return folder / "bin"


@pytest.mark.parametrize(
    "block", blocks(SECTION, "console"), ids=lambda block: block.split()[1]
)
def test_app_runs(
    block: str,
    installers: pathlib.Path,
    wheel: pathlib.Path,
    own_app: pathlib.Path,
    own_cache: dict[str, str],
    tmp_path: pathlib.Path,
) -> None:
    """The command that a way to install gives serves an app; its task runs."""
    # pip takes a name only before a URL that has a host
    source, with_pip = str(wheel), "pip install" in block
    if not with_pip and (REPOSITORY / ".git").exists():
        source = f"gae-devserver @ git+{REPOSITORY.as_uri()}#subdirectory=devserver"
    shown = re.sub('".* @ git.*"', f'"{source}"', block).replace("~", str(tmp_path))
    commands = tmp_path / ("gae-devserver/bin" if with_pip else "bin")
    variables = {
        "PATH": f"{installers}{os.pathsep}{os.environ['PATH']}",
        # a company may have its own certificates
        "UV_SYSTEM_CERTS": "true",
        **{name: str(tmp_path / "bin") for name in ("PIPX_BIN_DIR", "UV_TOOL_BIN_DIR")},
        **{name: str(tmp_path / "tools") for name in ("PIPX_HOME", "UV_TOOL_DIR")},
    }
    # the tests' own packages are on their PATH
    alone = own_cache | {"PATH": os.defpath}

    script = re.sub(r"(?m)^\$ ", "", shown)
    installed = run("sh", "-ec", script, folder=tmp_path, **own_cache | variables)
    assert installed.returncode == 0, installed.stdout + installed.stderr
    command = commands / "gae-devserver"
    serve = (command, own_app, "--port", "0")
    with Started(*serve, work=tmp_path, folder=tmp_path, **alone) as server:
        server.wait_for("Press Ctrl-C")
        server.process.terminate()
        assert server.process.wait(STOP_SECONDS) == 0
    python = command.resolve().with_name("python")
    used = run(python, "-c", USE, folder=own_app.parent, **alone)

    assert used.returncode == 0, used.stderr
