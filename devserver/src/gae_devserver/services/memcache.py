"""Memcache: the SDK's stub, without what has expired, and with a limit."""

from typing import Any

from google.appengine.api.memcache.memcache_stub import MemcacheServiceStub

MAX_BYTES = 128 * 2**20
"""How much it keeps; then the values that were not used for longest are evicted."""


class Memcache(MemcacheServiceStub):  # type: ignore[misc]
    """The SDK's stub, without values that no call can return any more."""

    def __init__(self, *, max_size_bytes: int = MAX_BYTES, **options: Any) -> None:
        """Make an empty cache; the other options are those of the stub."""
        super().__init__(max_size_bytes=max_size_bytes, **options)
        self._writes_until_sweep = 0

    def MakeSyncCall(
        self, service: str, call: str, request: Any, response: Any, *others: Any
    ) -> None:
        """Carry out a call, and remove what has expired every so often."""
        super().MakeSyncCall(service, call, request, response, *others)
        self._writes_until_sweep -= 1
        if self._writes_until_sweep < 0:
            self._sweep()

    def _sweep(self) -> None:
        for namespace, entries in list(self._the_cache.items()):
            for key in list(entries):
                self._GetKey(namespace, key, for_peek=True)
            if not entries:
                del self._the_cache[namespace]
        # A sweep takes longer the more there is, and comes less often.
        self._writes_until_sweep = max(100, sum(map(len, self._the_cache.values())))
