"""gae_devserver.testing.ending: fixtures can stop what they started."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gae_devserver.testing import wait_until
from tests.helpers.command import PATIENCE

RUN = """\
import signal, sys
from gae_devserver.testing import ending

ending.end_as_with_ctrl_c()
if sys.argv[1] == "with parent":
    ending.end_with_parent()
try:
    print("ready", flush=True)
    while True:
        signal.pause()
except KeyboardInterrupt:
    print("stopping", flush=True)
    if sys.argv[1] == "alone":
        sys.stdin.readline()
print("stopped", flush=True)
"""


@pytest.fixture
def run() -> Iterator[subprocess.Popen[str]]:
    """A run whose cleanup waits for a line of input, after the first signal."""
    command = [sys.executable, "-c", RUN, "alone"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        yield process
        process.kill()


def next_line(run: subprocess.Popen[str]) -> str:
    """Return the next line that the run prints."""
    assert run.stdout is not None
    return run.stdout.readline().strip()


def test_sigterm_does_not_end_the_cleanup(run: subprocess.Popen[str]) -> None:
    """The first SIGTERM is like Ctrl-C; further ones have no effect."""
    assert next_line(run) == "ready"
    run.send_signal(signal.SIGTERM)
    assert next_line(run) == "stopping"

    run.send_signal(signal.SIGTERM)
    run.communicate("\n", timeout=PATIENCE)

    assert run.returncode == 0


def test_a_second_ctrl_c_ends_the_cleanup(run: subprocess.Popen[str]) -> None:
    """The user can end a cleanup that takes too long."""
    assert next_line(run) == "ready"
    run.send_signal(signal.SIGINT)
    assert next_line(run) == "stopping"

    run.send_signal(signal.SIGINT)
    printed, _ = run.communicate(timeout=PATIENCE)

    assert run.returncode != 0
    assert "stopped" not in printed


def test_a_run_ends_with_its_parent(tmp_path: Path) -> None:
    """The parent is killed, so it cannot end the run."""
    log = tmp_path / "log"
    start = (
        "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"
    )
    with log.open("w") as output:
        parent = subprocess.Popen(
            [sys.executable, "-c", start, RUN, "with parent"], stdout=output
        )
    try:
        wait_until(lambda: "ready" in log.read_text(), "the run", PATIENCE)
    finally:
        parent.kill()
        parent.wait()

    wait_until(lambda: "stopped" in log.read_text(), "the end of the run", PATIENCE)
