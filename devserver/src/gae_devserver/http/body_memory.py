"""The memory for the bodies of requests to a port."""

import asyncio

from gae_devserver.http.limits import Limits
from gae_devserver.memory import FreeMemory


class BodyMemory:
    """Gives memory to large bodies, which wait for each other if there is too little.

    Each port has a memory of its own: an upload holds its share until the app answers,
    and the app may need API calls for that, which come to another port.
    """

    def __init__(self, limits: Limits) -> None:
        """Give at most `limits.bodies` bytes."""
        self._limit = limits.bodies
        self._patience = limits.bodies_seconds
        self._taken = 0
        self._given_back = asyncio.Event()
        self._free = FreeMemory()

    async def take(self, size: int) -> None:
        """Take memory for a whole body before it is read.

        Bodies that each have a part would all wait for the rest. A body of more than
        the limit gets its memory when no other body has any.

        Raises:
            TimeoutError: other bodies have had the memory for all this time.
        """
        async with asyncio.timeout(self._patience):
            while self._taken and self._taken + size > self._limit:
                self._given_back.clear()
                await self._given_back.wait()
        self._taken += size

    def give_back(self, size: int) -> None:
        """Return memory; the bodies that wait look again."""
        self._taken -= size
        self._free.add(size)
        self._given_back.set()
