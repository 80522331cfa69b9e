"""Run noxfile.py as a user does, and other commands."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
from typing import Self

from gae_devserver.testing import wait_until

from tests.servers.staging import REPOSITORY

MINUTES = 600.0
"""Seconds that a command may take, on a slow network or a busy machine too."""

STOP_SECONDS = 20.0
"""Seconds that a command may take to end on a loaded machine; usually it takes two."""

COMMANDS = pathlib.Path(sys.executable).parent
"""The folder with this environment's python and pytest."""

Run = subprocess.CompletedProcess[str]


def environment(**variables: str) -> dict[str, str]:
    """Return this process's environment without the variables of nox and Python."""
    unwanted = re.compile("NOX|UV_PYTHON|PYTHON|VIRTUAL_ENV")
    kept = {k: v for k, v in os.environ.items() if not unwanted.match(k)}
    path = f"{COMMANDS}:{os.environ['PATH']}"
    return {**kept, "PATH": path, "NO_COLOR": "1", **variables}


def run(
    *command: pathlib.Path | str,
    folder: pathlib.Path = REPOSITORY,
    stdin: str | None = None,
    **variables: str,
) -> Run:
    """Run a command until it ends."""
    return subprocess.run(
        list(map(str, command)),
        input=stdin,
        cwd=folder,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=MINUTES,
        check=False,
    )


def nox(
    *arguments: pathlib.Path | str,
    folder: pathlib.Path = REPOSITORY,
    noxfile: pathlib.Path = REPOSITORY / "noxfile.py",
    **variables: str,
) -> Run:
    """Run noxfile.py with the packages of this environment; it installs nothing."""
    command = (sys.executable, noxfile, "--no-venv", *arguments)
    return run(*command, folder=folder, **variables)


def reason(done: Run, outcome: str = "aborted") -> str:
    """Return why a session was aborted, or skipped: one line, and no traceback."""
    assert done.returncode == (1 if outcome == "aborted" else 0)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    (line,) = re.findall(f" {outcome}: (.*)", done.stderr)
    # on a slow machine nox adds how long it took
    return re.sub(r"( \(took .*\))?\.$", "", line)


class Started:
    """A command at work, in a process group of its own, as in a terminal.

    A `with` statement kills what is left of the group at its end.
    """

    def __init__(
        self,
        *command: pathlib.Path | str,
        work: pathlib.Path,
        folder: pathlib.Path = REPOSITORY,
        **variables: str,
    ) -> None:
        """Start the command in `folder`; its output goes to a file in `work`."""
        self._log = work / "log"
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                list(map(str, command)),
                cwd=folder,
                env=environment(**variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def log(self) -> str:
        """What has been printed."""
        return self._log.read_text(errors="replace")

    def wait_for(self, pattern: str) -> str:
        """Wait until the log matches; return the first group, or the match."""

        def look() -> re.Match[str] | None:
            ended = self.process.poll() is not None
            found = re.search(pattern, self.log, re.MULTILINE)
            assert found or not ended, self.log
            return found

        found = wait_until(look, f"{pattern} in {self._log}", MINUTES)
        assert found
        return found[found.lastindex or 0]


def start_nox(
    *arguments: pathlib.Path | str, work: pathlib.Path, **variables: str
) -> Started:
    """Start noxfile.py with the packages of this environment, from a folder."""
    command = (sys.executable, REPOSITORY / "noxfile.py", "--no-venv", *arguments)
    return Started(*command, work=work, folder=work, **variables)
