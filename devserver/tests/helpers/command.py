"""The command `gae-devserver`, as a user starts it in a terminal."""

import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from gae_devserver.testing import wait_until

COMMAND = [sys.executable, "-m", "gae_devserver"]
PATIENCE = 30.0


def run(
    *arguments: str | Path, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def fetch(url: str) -> tuple[int, str]:
    """Return status and body of an answer."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


class Running:
    """A server that runs in a process group of its own, as one in a terminal does."""

    def __init__(self, folder: Path, work: Path, *arguments: str) -> None:
        self._files = (work / "stdout", work / "stderr")
        with self._files[0].open("wb") as stdout, self._files[1].open("wb") as stderr:
            self.process = subprocess.Popen(
                [*COMMAND, str(folder), "--port", "0", *arguments],
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

    def log(self, pattern: str) -> str:
        """Wait for a text in the log, and return its first group."""
        return self.find(f"({pattern})", lambda: self.stderr)

    @property
    def url(self) -> str:
        """Where the app answers."""
        return self.find(r"^  App        (\S+)$", lambda: self.stdout)

    @property
    def state_url(self) -> str:
        """Where the state API answers."""
        return self.find(r"^  State API  (\S+)$", lambda: self.stdout)

    @property
    def token(self) -> str:
        """What a write to the state API has to bring."""
        return self.find(r"^  Token      ([0-9a-f]{32})$", lambda: self.stdout)

    def answers(self, body: str) -> None:
        """Wait until the app answers so."""
        wait_until(lambda: fetch(self.url) == (200, body), f"{body!r}", PATIENCE)


def edit(file: Path, old: str, new: str) -> None:
    """Change a file as an editor does: all at once.

    The size has to change too: of a file of the same second and size, Python takes
    what it has compiled before.
    """
    assert len(old) != len(new)
    fresh = file.with_name(f".{file.name}.new")
    fresh.write_text(file.read_text().replace(old, new))
    fresh.rename(file)
