"""Run a staged copy of an app under gunicorn alone, as its app.yaml starts it."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping

from gae_devserver.testing import wait_until

from tests.servers import staging
from tests.servers.base import Site

START_TIME = 30.0
"""Seconds that gunicorn may take on a loaded machine; it takes one on an idle one."""


def stage(name: str, folder: pathlib.Path, ndb: str = "bundled") -> pathlib.Path:
    """Copy an app into `folder`, with the tests' modules beside its main.py."""
    staged = pathlib.Path(__file__).parent / "staged"
    return staging.stage(name, folder, ndb, staged=staged, main="main")


def environment(gae_env: str, **more: str) -> dict[str, str]:
    """Return the variables that an app starts with; there is no API server."""
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


def run_python(
    folder: pathlib.Path, variables: Mapping[str, str], *arguments: str
) -> str:
    """Run a program in `folder`; return what it prints."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=variables,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    ).stdout


def command(app: pathlib.Path) -> list[str]:
    """Return the entrypoint of app.yaml, with this environment's gunicorn."""
    line = re.search(
        r"^entrypoint: gunicorn (.*)$", (app / "app.yaml").read_text(), re.MULTILINE
    )
    assert line, "app.yaml starts no gunicorn"
    return [sys.executable, "-m", "gunicorn", *line[1].split()]


class PlainGunicorn(Site):
    """An app under gunicorn on a free loopback port."""

    def __init__(self, app: pathlib.Path, variables: Mapping[str, str]) -> None:
        """Start the app; its log goes beside its folder."""
        self.app = app
        self._log = app.with_suffix(".log")
        # in a test, App Engine's 0.0.0.0 must not open a port to the network
        on_loopback = (
            () if variables.get("GAE_ENV") == "localdev" else ("-b", "127.0.0.1:0")
        )
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command(app), *on_loopback],
                cwd=app,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            super().__init__(
                wait_until(self._listens_at, "gunicorn listens", START_TIME) or ""
            )
        except BaseException:
            self.stop()
            raise

    def _listens_at(self) -> str | None:
        if self._process.poll() is not None:
            raise RuntimeError(f"gunicorn ended:\n{self.log()}")
        found = re.search(r"Listening at: (http://127\.0\.0\.1:\d+)", self.log())
        return found[1] if found else None

    def log(self) -> str:
        """Return what gunicorn and the app have printed."""
        return self._log.read_text()

    def stop(self) -> None:
        """Kill gunicorn and its workers: they have nothing to save."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextlib.contextmanager
def running(app: pathlib.Path, variables: Mapping[str, str]) -> Iterator[PlainGunicorn]:
    """Run a staged app while the block lasts."""
    server = PlainGunicorn(app, variables)
    try:
        yield server
    finally:
        server.stop()
