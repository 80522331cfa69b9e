"""Returns free memory to the system, which glibc otherwise keeps for this process."""

import asyncio
import contextlib

# bytes; a trim takes a few milliseconds
_WORTH_A_TRIM = 2**24
# by then, nothing refers to the blocks any more
_SECONDS = 0.1


class FreeMemory:
    """Counts large blocks that became free, and returns many of them at a time."""

    def __init__(self) -> None:
        self._bytes = 0

    def add(self, size: int) -> None:
        """Note that a block is free, or will be in a moment."""
        before, self._bytes = self._bytes, self._bytes + size
        if before < _WORTH_A_TRIM <= self._bytes:
            asyncio.get_running_loop().call_later(_SECONDS, self._trim)

    def _trim(self) -> None:
        self._bytes = 0
        return_to_system()


def return_to_system() -> None:
    """Return all free memory."""
    # imported here, because most apps never need it
    import ctypes

    # other C libraries have no such function, and need none
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
