"""The command `gae-devserver`, as a user starts it in a terminal."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from gae_devserver.testing import wait_until
from gae_devserver.testing.requests import send

MODULE = [sys.executable, "-m", "gae_devserver"]
OWN_PYTHON = f"--python={sys.executable}"
"""The option of most servers: the tests' own environment has what their apps need."""

COMMAND = [*MODULE, OWN_PYTHON]
PATIENCE = 30.0


def run(
    *arguments: str | Path, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return run_python(*COMMAND[1:], *arguments, cwd=cwd)


def run_python(
    *arguments: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python to its end."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def fetch(url: str, target: str = "/") -> tuple[int, str]:
    """Return status and body of an answer."""
    answer = send(url, "GET", target)
    return answer.status, answer.text


class Running:
    """A server in a process group of its own, as in a terminal."""

    def __init__(
        self,
        folder: Path,
        work: Path,
        *arguments: str,
        command: Sequence[str] = COMMAND,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Start `command` for an app, with more environment variables."""
        self._files = (work / "stdout", work / "stderr")
        with self._files[0].open("wb") as stdout, self._files[1].open("wb") as stderr:
            self.process = subprocess.Popen(
                [*command, str(folder), "--port=0", "--console-port=0", *arguments],
                env=os.environ | (variables or {}),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )

    @property
    def stdout(self) -> str:
        """What it has printed."""
        return self._files[0].read_text()

    @property
    def stderr(self) -> str:
        """What it and the app have logged."""
        return self._files[1].read_text("utf-8", "replace")

    def find(self, pattern: str, text: Callable[[], str]) -> str:
        """Wait for a text, and return its first group."""

        def look() -> str | None:
            found = re.search(pattern, text(), re.MULTILINE)
            if found is None and self.process.poll() is not None:
                pytest.fail(f"the server has ended: {self.stdout}{self.stderr}")
            return found and found[1]

        try:
            return wait_until(look, "a text", PATIENCE) or ""
        except TimeoutError:
            pytest.fail(f"{pattern} is not in {text()}")

    def banner(self, label: str) -> str:
        """Wait for a line of the banner, and return what it says."""
        return self.find(rf"^  {label} +(\S.*)$", lambda: self.stdout)

    def log(self, pattern: str) -> str:
        """Wait for a text in the log, and return it."""
        return self.find(f"({pattern})", lambda: self.stderr)

    @property
    def url(self) -> str:
        """Where the app answers."""
        return self.banner("App")

    @property
    def state_url(self) -> str:
        """Where the State API answers."""
        return self.banner("State API")

    @property
    def token(self) -> str:
        """What a write to the State API needs."""
        return self.banner("Token")

    def answers(self, body: str) -> None:
        """Wait until the app gives this answer."""
        wait_until(lambda: fetch(self.url) == (200, body), f"{body!r}", PATIENCE)


def edit(file: Path, old: str, new: str) -> None:
    """Change a file as an editor does: all at once.

    The size must change too: Python uses what it compiled before if a file has the same
    size and the same second of change.
    """
    assert len(old) != len(new)
    fresh = file.with_name(f".{file.name}.new")
    fresh.write_text(file.read_text().replace(old, new))
    fresh.rename(file)
