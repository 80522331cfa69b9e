"""Wait in the event loop for a condition instead of a fixed time."""

import asyncio
from collections.abc import Callable

PATIENCE = 20.0
"""Seconds that anything may take on a loaded machine."""


async def until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Let the loop run until `condition` is true; fail after `seconds`."""
    async with asyncio.timeout(seconds):
        # The conditions have no event to wait for.
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def settled(turns: int = 20) -> None:
    """Let everything run that waits for nothing but the loop."""
    for _ in range(turns):
        await asyncio.sleep(0)
