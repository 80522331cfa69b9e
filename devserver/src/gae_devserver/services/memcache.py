"""Memcache: the SDK's stub, without what has expired, and with a limit."""

from collections.abc import Iterator
from typing import Any

from google.appengine.api.memcache import memcache_service_pb2 as pb
from google.appengine.api.memcache.memcache_stub import MemcacheServiceStub

MAX_BYTES = 128 * 2**20
"""How much it keeps; then the values that were not used for longest are evicted."""


class Memcache(MemcacheServiceStub):  # type: ignore[misc]
    """The SDK's stub, without values that no call can return any more."""

    def __init__(self, *, max_size_bytes: int = MAX_BYTES, **options: Any) -> None:
        """Make an empty cache; the other options are those of the stub."""
        super().__init__(max_size_bytes=max_size_bytes, **options)
        self._writes_until_sweep = 0
        self.calls = 0
        """How many calls there were: it shows whether anything can have changed."""

    def MakeSyncCall(
        self, service: str, call: str, request: Any, response: Any, *others: Any
    ) -> None:
        """Carry out a call, and remove what has expired every so often."""
        self.calls += 1
        super().MakeSyncCall(service, call, request, response, *others)
        self._writes_until_sweep -= 1
        if self._writes_until_sweep < 0:
            self._sweep()

    def flush(self) -> None:
        """Delete all items, as a call of the app does."""
        response = pb.MemcacheFlushResponse()
        self.MakeSyncCall("memcache", "FlushAll", pb.MemcacheFlushRequest(), response)

    def Clear(self) -> None:
        """Delete all items; the stub would also forget the clock and the limit."""
        kept = {name: getattr(self, name) for name in ("_max_size_bytes", "_gettime")}
        super().Clear()
        self.__dict__.update(kept)

    def _internal_increment(self, namespace: str, request: Any, **options: Any) -> Any:
        # the stub does not count the bytes of a new number; a later delete then makes
        # the sum negative, and the statistics fail
        if (entry := self.entry(namespace, request.key)) is not None:
            self._lru.Remove(entry)
        try:
            return super()._internal_increment(namespace, request, **options)
        finally:
            if (entry := self.entry(namespace, request.key)) is not None:
                self._lru.Update(entry)

    def entry(self, namespace: str, key: bytes) -> Any:
        """Return the CacheEntry of an item without using it; None: there is none."""
        entry = self._GetKey(namespace, key, for_peek=True)
        return None if entry is None or entry.locked else entry

    def entries(self) -> Iterator[Any]:
        """Yield the CacheEntry of each item, in any order."""
        for entries in self._the_cache.values():
            for entry in entries.values():
                if not entry.locked and not entry.CheckExpired():
                    yield entry

    def _sweep(self) -> None:
        for namespace, entries in list(self._the_cache.items()):
            for key in list(entries):
                self._GetKey(namespace, key, for_peek=True)
            if not entries:
                del self._the_cache[namespace]
        # A sweep takes longer the more there is, and comes less often.
        self._writes_until_sweep = max(100, sum(map(len, self._the_cache.values())))
