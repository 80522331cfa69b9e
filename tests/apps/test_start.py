"""How an app starts and stops: gunicorn's settings, Django's, and errors."""

import contextlib
import os
import pathlib
import re
import runpy
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from gae_devserver.testing import wait_until

from tests.apps.payloads import FROM_QUEUE, call
from tests.apps.plain_gunicorn import (
    REPOSITORY,
    PlainGunicorn,
    command,
    environment,
    running,
    stage,
)
from tools.copy_app import use_cloud_ndb


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
    """On a dev server only this machine may connect; on App Engine, its front must."""
    for variable in ("GAE_ENV", "PORT"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)

    settings = runpy.run_path(str(REPOSITORY / "shared" / "gunicorn_conf.py"))

    assert settings["bind"] == bind


def test_localdev_listens_on_loopback_only(tmp_path: pathlib.Path) -> None:
    """Gunicorn takes the address from the file that the entrypoint names."""
    app = stage("plain_wsgi_app", tmp_path)
    process = subprocess.Popen(
        command(app),
        cwd=app,
        env=environment("localdev"),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr
        lines = (line for line in process.stderr if "Listening at" in line)
        assert re.search(r"http://127\.0\.0\.1:\d+ ", next(lines))
    finally:
        process.terminate()
        process.communicate(timeout=10)


def test_no_control_socket(name: str, tmp_path: pathlib.Path) -> None:
    """Gunicorn leaves no socket where other processes could command it."""
    own = {"XDG_RUNTIME_DIR": str(tmp_path), "GUNICORN_CMD_ARGS": "--log-level=debug"}
    with running(name, tmp_path, "localdev", **own) as server:
        wait_until(
            lambda: "Control socket disabled" in server.log(), "gunicorn is through"
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
    app = stage(name, tmp_path)
    if library == "cloud":
        use_cloud_ndb(app)

    assert run_python(COUNT_THREADS, app, environment("localdev")) == "1"


def test_many_requests_at_once(tmp_path: pathlib.Path) -> None:
    """Requests that wait do not keep others waiting: there are threads."""
    with (
        running("plain_wsgi_app", tmp_path, "localdev") as server,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(4):  # more than two workers could take without threads
            client = socket.create_connection(("127.0.0.1", server.port))
            stack.enter_context(client)
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")

        assert server.request("GET", "/").status == 404


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
    """An app that cannot start ends gunicorn, and its own error can be read."""
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
    assert f"{app / 'main.py'}" in ended.stderr
    assert line in ended.stderr
    assert error in ended.stderr


def test_starts_without_any_variable(name: str, tmp_path: pathlib.Path) -> None:
    """A copied app starts where nothing is set up, and still refuses forged tasks."""
    app = stage(name, tmp_path)
    variables = {"PATH": os.environ["PATH"]}
    server = PlainGunicorn(app, variables, "example.appspot.com")
    try:
        assert server.request("GET", "/").status == 404
        assert server.request("POST", "/custom/path").status == 403
        answer = server.request("POST", "/custom/path", FROM_QUEUE, call("succeed"))
        assert answer.status == 200
    finally:
        server.stop()


def test_django_debug(django: dict[str, PlainGunicorn]) -> None:
    """The page that shows the app's insides is for the dev server only."""
    assert "DEBUG = True" in django["localdev"].request("GET", "/").text
    assert "DEBUG = True" not in django["standard"].request("GET", "/").text


@pytest.fixture(scope="module")
def django(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, PlainGunicorn]]:
    """The Django app on App Engine and on a dev server."""
    with contextlib.ExitStack() as stack:
        yield {
            gae_env: stack.enter_context(
                running("django_app", tmp_path_factory.mktemp(gae_env), gae_env)
            )
            for gae_env in ("standard", "localdev")
        }


def test_django_secret_key(tmp_path: pathlib.Path) -> None:
    """The secret is what the variable says, else another one for each process."""
    app = stage("django_app", tmp_path)

    def secret(**variables: str) -> str:
        show = "import main; print(main.settings.SECRET_KEY)"
        return run_python(show, app, environment("standard", **variables))

    first, second = secret(), secret()

    assert len(first) >= 50
    assert first != second
    assert secret(DJANGO_SECRET_KEY="chosen") == "chosen"


def run_python(program: str, folder: pathlib.Path, variables: dict[str, str]) -> str:
    """Return what a program of a few words prints when it runs in this folder."""
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=variables,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.strip()
