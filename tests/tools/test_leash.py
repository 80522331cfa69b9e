"""Nothing that the leash started outlives its starter."""

import signal
import subprocess
import sys

from gae_devserver.testing.processes import running, wait_for_end

from tools import leash

LEASH = (sys.executable, leash.__file__)
# this shell, as gunicorn's, does not pass a signal on to its children
FAMILY = ("sh", "-c", "sleep 600 & echo $! $$; wait")

STARTER = """
import subprocess, sys, time
leash = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)
print(leash.pid, flush=True)
time.sleep(600)
"""


def pids(started: "subprocess.Popen[str]") -> set[int]:
    """Return the numbers of processes in the next line that a process prints."""
    assert started.stdout is not None
    found = set(map(int, started.stdout.readline().split()))
    assert running(found) == found
    return found


def test_family_ends_with_its_starter() -> None:
    """When the starter is killed, the leash and the family are stopped."""
    command = [sys.executable, "-c", STARTER, *LEASH, *FAMILY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as starter:
        family = pids(starter) | pids(starter)

        starter.kill()
        starter.wait(20)

        wait_for_end(family, 20)


def test_leash_ends_with_the_command() -> None:
    """When the command ends by itself, so does the leash, with its exit status."""
    command = [*LEASH, "sh", "-c", "exit 3"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as leashed:
        assert leashed.wait(20) == 3


def test_stubborn_family_is_killed() -> None:
    """A command that ignores SIGTERM is killed."""
    with subprocess.Popen(
        ["sh", "-c", "trap '' TERM; echo ready; sleep 600"],
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as group:
        assert group.stdout is not None
        group.stdout.readline()

        leash.stop(group, patience=0.2)

        assert group.wait(20) == -signal.SIGKILL
