"""Finds processes and what they started, with `ps`."""

import subprocess
from collections.abc import Mapping


def running() -> dict[int, int]:
    """Return the parent of every process that is not a zombie."""
    command = ["ps", "-A", "-o", "pid=,ppid=,stat="]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = [line.split() for line in printed.splitlines()]
    return {int(pid): int(of) for pid, of, state in lines if state[0] != "Z"}


def memory() -> dict[int, tuple[int, int]]:
    """Return the parent of every process, and how many KiB of memory it has.

    Where there is no `ps`, which small container images lack, the result is empty.
    """
    command = ["ps", "-A", "-o", "pid=,ppid=,rss="]
    try:
        printed = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return {}
    rows = (map(int, line.split()) for line in printed.stdout.splitlines())
    return {pid: (parent, kibibytes) for pid, parent, kibibytes in rows}


def below(pid: int, parents: Mapping[int, int]) -> set[int]:
    """Return the processes that a process started, directly or not."""
    found: set[int] = set()
    new = {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new}
        found |= new
    return found
