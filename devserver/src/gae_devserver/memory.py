"""The memory of the process: what is kept for good, and what the system gets back."""

import asyncio
import contextlib
import gc
from collections.abc import Iterator

# bytes; a trim takes a few milliseconds
_WORTH_A_TRIM = 2**24
# by then, nothing refers to the blocks any more
_SECONDS = 0.1


@contextlib.contextmanager
def kept_for_good() -> Iterator[None]:
    """Make objects that stay: Python does not look for garbage among them.

    To load 100,000 entities or tasks takes half as long. Later, a full collection would
    hold up the event loop the longer, the more there is.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


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
