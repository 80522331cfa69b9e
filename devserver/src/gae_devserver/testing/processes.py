"""Find the processes that a server started."""

from gae_devserver.app import processes
from gae_devserver.testing.waiting import wait_until


def descendants(pid: int) -> set[int]:
    """Return the processes that a process started, directly or not."""
    return processes.below(pid, processes.running())


def running(pids: set[int]) -> set[int]:
    """Return which of the processes still run."""
    return pids & processes.running().keys()


def wait_for_end(pids: set[int], seconds: float) -> None:
    """Wait until every one of the processes has ended."""
    wait_until(lambda: not running(pids), f"the processes {sorted(pids)} end", seconds)
