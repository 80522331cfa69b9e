"""Run a staged copy of an app under gunicorn alone, as its app.yaml starts it."""

import contextlib
import http.client
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping

from gae_devserver.testing import Response, wait_until

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
APPS = ("flask_app", "django_app", "plain_wsgi_app")

START_TIME = 30.0
"""Seconds that gunicorn may take on a loaded machine; it takes one on an idle one."""

HOST = {"localdev": "localhost:8080", "standard": "example.appspot.com"}
"""What a request of each environment (GAE_ENV) has as its Host."""


def stage(name: str, folder: pathlib.Path) -> pathlib.Path:
    """Copy an app into `folder`, links followed, with the tests' tasks beside it."""
    copy = folder / name
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / name, copy, ignore=ignore)
    shutil.copy(pathlib.Path(__file__).parent / "staged" / "staged_tasks.py", copy)
    return copy


def environment(gae_env: str, **more: str) -> dict[str, str]:
    """Return the variables that an app starts with; no API server is to be had."""
    own = {"PATH", "HOME", "TMPDIR", "LANG", "PYTHONWARNINGS", "PYTHONDEVMODE"}
    return {
        **{name: value for name, value in os.environ.items() if name in own},
        "GAE_APPLICATION": "dev~example",
        "GAE_ENV": gae_env,
        "GAE_VERSION": "v1",
        "API_HOST": "127.0.0.1",
        "API_PORT": "1",  # nothing listens there: a call to an API fails at once
        "PORT": "0",
        **more,
    }


def command(app: pathlib.Path) -> list[str]:
    """Return the entrypoint of app.yaml, with this environment's gunicorn."""
    line = re.search(
        r"^entrypoint: gunicorn (.*)$", (app / "app.yaml").read_text(), re.MULTILINE
    )
    assert line, "app.yaml starts no gunicorn"
    return [sys.executable, "-m", "gunicorn", *line[1].split()]


class PlainGunicorn:
    """An app under gunicorn on a free loopback port."""

    def __init__(
        self, app: pathlib.Path, variables: Mapping[str, str], host: str
    ) -> None:
        """Start the app; its log goes beside its folder."""
        self.app = app
        self.host = host
        self._log = app.with_suffix(".log")
        loopback = ["--bind", "127.0.0.1:0"]  # whatever GAE_ENV says: this is a test
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command(app), *loopback],
                cwd=app,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self.port = wait_until(self._port, "gunicorn listens", START_TIME) or 0
        except BaseException:
            self.stop()
            raise

    def _port(self) -> int | None:
        if self.process.poll() is not None:
            raise RuntimeError(f"gunicorn ended:\n{self.log()}")
        found = re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", self.log())
        return int(found[1]) if found else None

    def log(self) -> str:
        """Return what gunicorn and the app have printed."""
        return self._log.read_text()

    def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Response:
        """Send one request; `target` goes out byte for byte."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.putrequest(method, target, skip_host=True)
            all_headers = {"Host": self.host, **(headers or {})}
            if body:
                all_headers["Content-Length"] = str(len(body))
            for name, value in all_headers.items():
                connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            return Response(answer.status, answer.headers, answer.read())

    def stop(self) -> None:
        """Kill gunicorn and its workers: they have nothing to save."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def running(
    name: str, folder: pathlib.Path, gae_env: str, **variables: str
) -> Iterator[PlainGunicorn]:
    """Stage the app of this name, and run it while the block lasts."""
    app = stage(name, folder)
    server = PlainGunicorn(app, environment(gae_env, **variables), HOST[gae_env])
    try:
        yield server
    finally:
        server.stop()
