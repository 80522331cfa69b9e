"""Wait for a condition with a deadline, never for a fixed time."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

INTERVAL = 0.01
"""Seconds between two looks at a condition, unless it says otherwise."""


def wait_until(
    condition: Callable[[], T],
    what: str,
    seconds: float = 20.0,
    interval: float = INTERVAL,
) -> T:
    """Return the first true result of `condition`; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() >= deadline:
            raise TimeoutError(f"{what}: not so within {seconds:g} s")
        pause.wait(interval)
