"""The memory for the bodies of requests: one limit for all ports together."""

import asyncio
import contextlib

# what is worth the few milliseconds of a trim, and time for handlers to drop the bodies
_TRIM_BYTES = 2**24
_TRIM_SECONDS = 0.1


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
        self._given_back = 0

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
        before, self._given_back = self._given_back, self._given_back + size
        if before < _TRIM_BYTES <= self._given_back:
            asyncio.get_running_loop().call_later(_TRIM_SECONDS, self._trim)
        for turn in self._waiting:
            if not turn.done():
                turn.set_result(None)

    def _trim(self) -> None:
        """Have glibc return free memory to the system, which it keeps otherwise."""
        # not needed by most apps
        import ctypes

        self._given_back = 0
        # other libraries have no such function, and need none
        with contextlib.suppress(AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


OF_ALL_PORTS = BodyMemory()
"""The memory that all ports of the server share."""
