"""Lets the server do other work while a long list is made."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")

_SECONDS = 0.005


async def in_turns(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield items; after some milliseconds, others have their turn.

    Meanwhile the state of the server may change.
    """
    began = time.perf_counter()
    for item in items:
        if time.perf_counter() - began > _SECONDS:
            await asyncio.sleep(0)
            began = time.perf_counter()
        yield item
