"""The memory for the bodies of requests: one limit for all ports together."""

import asyncio

from gae_devserver.memory import FreeMemory


class BodyMemory:
    """Gives memory to large bodies, which wait for each other if there is too little.

    Small bodies take none: a form or an API call need not wait for uploads.
    """

    def __init__(
        self, limit: int = 256 * 2**20, *, small: int = 2**16, patience: float = 30.0
    ) -> None:
        """Give at most `limit` bytes, to bodies of more than `small` bytes.

        A body waits for `patience` seconds.
        """
        self.limit = limit
        self.small = small
        self._patience = patience
        self._taken = 0
        self._waiting: set[asyncio.Future[None]] = set()
        self._free = FreeMemory()

    async def take(self, size: int) -> None:
        """Take memory for a whole body before it is read.

        Bodies that each have a part would all wait for the rest. A body of more than
        the limit gets its memory when no other body has any.

        Raises:
            TimeoutError: other bodies have had the memory for all this time.
        """
        async with asyncio.timeout(self._patience):
            while self._taken and self._taken + size > self.limit:
                turn = asyncio.get_running_loop().create_future()
                self._waiting.add(turn)
                try:
                    await turn
                finally:
                    self._waiting.discard(turn)
        self._taken += size

    def give_back(self, size: int) -> None:
        """Return memory; the bodies that wait look again."""
        self._taken -= size
        self._free.add(size)
        for turn in self._waiting:
            if not turn.done():
                turn.set_result(None)


OF_ALL_PORTS = BodyMemory()
"""The memory that all ports of the server share."""
