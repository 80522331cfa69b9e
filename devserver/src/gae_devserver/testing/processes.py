"""Find the processes that a server started, with `ps`."""

import subprocess

from gae_devserver.testing.waiting import wait_until


def _all_processes() -> dict[int, int]:
    """Return the parent of every process that is not a zombie."""
    command = ["ps", "-A", "-o", "pid=,ppid=,stat="]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = [line.split() for line in printed.splitlines()]
    return {int(pid): int(of) for pid, of, state in lines if state[0] != "Z"}


def descendants(pid: int) -> set[int]:
    """Return the processes that a process started, directly or not."""
    parents = _all_processes()
    found: set[int] = set()
    new = {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new}
        found |= new
    return found


def running(pids: set[int]) -> set[int]:
    """Return which of the processes still run."""
    return pids & _all_processes().keys()


def wait_for_end(pids: set[int], seconds: float) -> None:
    """Wait until every one of the processes has ended."""
    wait_until(lambda: not running(pids), f"the processes {sorted(pids)} end", seconds)
