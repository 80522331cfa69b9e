"""Wait for a condition instead of a fixed time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T | None],
    what: str,
    seconds: float = 20.0,
    interval: float = 0.01,
) -> T:
    """Call `condition` every `interval` seconds; return its first true result.

    Raises:
        TimeoutError: no result was true in time. The text says `what` was awaited.
    """
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() >= deadline:
            raise TimeoutError(f"timed out after {seconds:g} s: {what}")
        time.sleep(interval)
