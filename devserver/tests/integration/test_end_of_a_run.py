"""gae_devserver.testing.ending: fixtures can stop what they started."""

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.helpers.command import PATIENCE

RUN = """\
import signal, sys
from gae_devserver.testing import ending

ending.end_as_with_ctrl_c()
try:
    print("ready", flush=True)
    while True:
        signal.pause()
except KeyboardInterrupt:
    print("stopping", flush=True)
    sys.stdin.readline()
print("stopped", flush=True)
"""


@pytest.fixture
def run() -> Iterator[subprocess.Popen[str]]:
    """A run whose cleanup waits for a line of input, after the first signal."""
    command = [sys.executable, "-c", RUN]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        yield process
        process.kill()


def next_line(run: subprocess.Popen[str]) -> str:
    """Return the next line that the run prints."""
    assert run.stdout is not None
    return run.stdout.readline().strip()


@pytest.mark.parametrize(
    ("sign", "completes"), [(signal.SIGTERM, True), (signal.SIGINT, False)]
)
def test_a_cleanup_is_ended_only_by_ctrl_c(
    run: subprocess.Popen[str], sign: signal.Signals, completes: bool
) -> None:
    """The first SIGTERM is like Ctrl-C. Only a second Ctrl-C ends the cleanup."""
    assert next_line(run) == "ready"
    run.send_signal(sign)
    assert next_line(run) == "stopping"

    run.send_signal(sign)
    printed, _ = run.communicate("\n" if completes else None, timeout=PATIENCE)

    assert (run.returncode == 0) is completes
    assert ("stopped" in printed) is completes
