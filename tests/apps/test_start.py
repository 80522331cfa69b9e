"""How an app starts: gunicorn's settings, Django's, and errors."""

import contextlib
import os
import pathlib
import runpy
import socket
import subprocess
from urllib.parse import urlsplit

import pytest
from gae_devserver.testing import wait_until

from tests.apps.payloads import call, sent
from tests.apps.plain_gunicorn import (
    PlainGunicorn,
    command,
    environment,
    run_python,
    running,
    stage,
)
from tests.servers.staging import REPOSITORY


@pytest.mark.parametrize(
    ("variables", "bind"),
    [
        ({"GAE_ENV": "localdev", "PORT": "1234"}, "127.0.0.1:1234"),
        ({"GAE_ENV": "standard", "PORT": "1234"}, "0.0.0.0:1234"),
        ({"PORT": "1234"}, "0.0.0.0:1234"),
        ({"GAE_ENV": "localdev"}, "127.0.0.1:8080"),
    ],
)
def test_bind(
    variables: dict[str, str], bind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a dev server only this machine can connect; on App Engine, its front must.

    That gunicorn reads this file shows in each test that starts an app as `localdev`.
    """
    for variable in ("GAE_ENV", "PORT"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)

    settings = runpy.run_path(str(REPOSITORY / "shared" / "gunicorn_conf.py"))

    assert settings["bind"] == bind


def test_no_control_socket(name: str, tmp_path: pathlib.Path) -> None:
    """Gunicorn leaves no socket through which other processes could control it."""
    own = {"XDG_RUNTIME_DIR": str(tmp_path), "GUNICORN_CMD_ARGS": "--log-level=debug"}
    with running(stage(name, tmp_path), environment("localdev", **own)) as server:
        wait_until(
            lambda: "Control socket disabled" in server.log(), "gunicorn has started"
        )

        assert not [path for path in tmp_path.rglob("*") if path.is_socket()]


# Linux counts gRPC's threads too, which are not Python's.
COUNT_THREADS = """\
import main, os, threading
tasks = "/proc/self/task"
print(len(os.listdir(tasks)) if os.path.isdir(tasks) else threading.active_count())
"""


@pytest.mark.parametrize("library", ["bundled", "cloud"])
def test_import_starts_no_thread(
    name: str, library: str, tmp_path: pathlib.Path
) -> None:
    """The app is imported before gunicorn forks: a thread would be lost, or hang."""
    app = stage(name, tmp_path, library)

    assert run_python(app, environment("localdev"), "-c", COUNT_THREADS) == "1\n"


def test_many_requests_at_once(tmp_path: pathlib.Path) -> None:
    """Requests that wait do not keep others waiting: there are threads."""
    app = stage("plain_wsgi", tmp_path)
    with (
        running(app, environment("localdev")) as server,
        contextlib.ExitStack() as stack,
    ):
        address = urlsplit(server.url)
        for _ in range(4):  # more than two workers could take without threads
            client = socket.create_connection((address.hostname, address.port))
            stack.enter_context(client)
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")

        assert server.get("/").status == 404


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("def (", "SyntaxError: invalid syntax"),
        ("import no_such_package", "No module named 'no_such_package'"),
        ("raise ValueError('on purpose')", "ValueError: on purpose"),
    ],
)
def test_broken_app_shows_its_traceback(
    name: str, line: str, error: str, tmp_path: pathlib.Path
) -> None:
    """If an app cannot start, gunicorn ends and prints the app's own error."""
    app = stage(name, tmp_path)
    with (app / "main.py").open("a") as main:
        main.write(f"\n{line}\n")

    ended = subprocess.run(
        command(app),
        cwd=app,
        env=environment("localdev"),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert ended.returncode != 0
    for text in (str(app / "main.py"), line, error):
        assert text in ended.stderr


def test_starts_without_any_variable(name: str, tmp_path: pathlib.Path) -> None:
    """A copied app starts where nothing is set up, and still refuses forged tasks."""
    with running(stage(name, tmp_path), {"PATH": os.environ["PATH"]}) as server:
        assert server.get("/").status == 404
        assert server.post("/custom/path").status == 403
        assert server.post("/custom/path", call("succeed"), sent()).status == 200


def test_django_debug(app: PlainGunicorn, name: str, gae_env: str) -> None:
    """Django shows the app's settings on the dev server only."""
    shown = "DEBUG = True" in app.get("/").text

    assert shown == (name == "django" and gae_env == "localdev")


def test_django_secret_key(tmp_path: pathlib.Path) -> None:
    """The key is the variable's value; without one, each process has its own."""
    app = stage("django", tmp_path)

    def secret(**variables: str) -> str:
        show = "import main; print(main.settings.SECRET_KEY)"
        return run_python(app, environment("standard", **variables), "-c", show)

    first, second = secret(), secret()

    assert len(first) >= 50
    assert first != second
    assert secret(DJANGO_SECRET_KEY="chosen") == "chosen\n"
