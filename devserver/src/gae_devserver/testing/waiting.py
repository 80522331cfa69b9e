"""Wait for a condition instead of a fixed time."""

import threading
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
    """Return the first true result of `condition`.

    Args:
        condition: what to call until its result is true.
        what: the condition in words, for the error message.
        seconds: how long to wait.
        interval: seconds between two calls.

    Raises:
        TimeoutError: no result was true in time.
    """
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() >= deadline:
            raise TimeoutError(f"timed out after {seconds:g} s: {what}")
        pause.wait(interval)
