"""Nothing that a test started outlives it."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest
from gae_devserver.testing import wait_until

from tools import leash

# a shell that, like gunicorn's, does not pass a signal on to its children
FAMILY = "sleep 600 & echo $! $$; wait"

STARTER = """
import subprocess, sys, time
leash = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)
print(leash.pid, flush=True)
time.sleep(600)
"""


def is_gone(process: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet has, too."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    stat = pathlib.Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_family_ends_with_the_input() -> None:
    """When the starter closes the pipe, the command and its children are stopped."""
    with subprocess.Popen(
        [sys.executable, leash.__file__, "sh", "-c", FAMILY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as leashed:
        assert leashed.stdin is not None
        assert leashed.stdout is not None
        family = [int(process) for process in leashed.stdout.readline().split()]
        assert not any(is_gone(process) for process in family)

        leashed.stdin.close()
        leashed.wait(20)

    assert all(is_gone(process) for process in family)


def test_family_ends_with_its_starter() -> None:
    """When the starter is killed, even so that it can do nothing, all are stopped."""
    with subprocess.Popen(
        [
            *(sys.executable, "-c", STARTER),
            *(sys.executable, leash.__file__, "sh", "-c", FAMILY),
        ],
        stdout=subprocess.PIPE,
        text=True,
    ) as starter:
        assert starter.stdout is not None
        leashed = int(starter.stdout.readline())
        family = [int(process) for process in starter.stdout.readline().split()]
        assert not any(is_gone(process) for process in family)

        starter.send_signal(signal.SIGKILL)
        starter.wait(20)

        wait_until(
            lambda: all(is_gone(process) for process in [leashed, *family]),
            "the leash and the family have ended",
        )


def test_leash_ends_with_the_command() -> None:
    """When the command ends by itself, so does the leash, with its exit status."""
    with subprocess.Popen(
        [sys.executable, leash.__file__, "sh", "-c", "exit 3"], stdin=subprocess.PIPE
    ) as leashed:
        assert leashed.wait(20) == 3


def test_stubborn_family_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that ignores SIGTERM is killed after a while."""
    monkeypatch.setattr(leash, "PATIENCE", 0.2)
    with subprocess.Popen(
        ["sh", "-c", "trap '' TERM; echo ready; sleep 600"],
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as group:
        assert group.stdout is not None
        group.stdout.readline()

        leash.stop(group)

        assert group.wait(20) == -signal.SIGKILL
