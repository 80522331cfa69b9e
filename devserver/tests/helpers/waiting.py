"""Wait in the event loop for a condition, never for a fixed time."""

import asyncio
from collections.abc import Callable

PATIENCE = 20.0
"""Seconds that anything may take on a loaded machine."""


async def until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Let the loop run until `condition` is true; fail after `seconds`."""
    async with asyncio.timeout(seconds):
        # what is waited for has no event of its own
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def settled(turns: int = 20) -> None:
    """Let everything run that can run without waiting for anything."""
    for _ in range(turns):
        await asyncio.sleep(0)
