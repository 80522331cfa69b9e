"""What has changed in the last hour, for snapshots and for reads as of a time."""

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from typing import NamedTuple, Protocol
from weakref import WeakSet

from gae_devserver.datastore.encoding import Path
from gae_devserver.datastore.property_index import Row

_CHANGE_BYTES = 500
"""At most what a change takes, besides the encoding of a replaced entity."""
_STEP = 1 / 8
"""The part of a bound that is dropped at once: readers catch up before each drop."""


@dataclass(frozen=True)
class Bounds:
    """How much a history remembers; it drops the oldest changes first."""

    seconds: float = 3600.0
    """Without point-in-time recovery, the service reads as of the last hour too."""
    memory: int = 64 * 2**20
    """About the bytes that all changes may take, with the entities that they replaced.

    A new entity takes some 450 bytes, a change or a deletion 550 and the size of the
    old entity. So these are 130,000 new entities, or 90,000 updates of small ones. A
    write takes about 3 microseconds longer. A snapshot takes more: see `Snapshot`.
    """


DEFAULT_BOUNDS = Bounds()


class Change(NamedTuple):
    """One entity was put or deleted."""

    version: int
    """The time of the commit: no other commit has it."""
    kind: tuple[str, str]
    """Namespace and kind."""
    path: Path
    old: Row | None
    """What the key had before, encoded; None: nothing."""


class Reader(Protocol):
    """A view of an earlier time, which needs the changes since then."""

    def catch_up(self) -> None:
        """Take what is needed from the changes, before the oldest are dropped."""


class History:
    """The changes of a store, in the order of their versions.

    A put or a deletion adds one change, at a cost that depends on nothing else. What an
    earlier time looked like follows from the changes since then.
    """

    def __init__(self, since: int, bounds: Bounds = DEFAULT_BOUNDS) -> None:
        """Remember changes with versions greater than `since`."""
        self.since = since
        """The earliest time as of which everything is known."""
        self._bounds = bounds
        self._changes: deque[Change] = deque()
        self._dropped = 0
        self._memory = 0
        # Weak: a reader ends with its transaction.
        self._readers: WeakSet[Reader] = WeakSet()

    def earliest(self, now: int) -> int:
        """Return the earliest time as of which a reader may begin."""
        return max(self.since, now - int(self._bounds.seconds * 10**6))

    def add(self, change: Change) -> None:
        """Remember a change that was just made."""
        self._changes.append(change)
        self._memory += _memory_of(change)
        age = change.version - self._changes[0].version
        if (
            self._memory > self._bounds.memory
            or age > (1 + _STEP) * self._bounds.seconds * 10**6
        ):
            self._drop(change.version)

    def _drop(self, now: int) -> None:
        for reader in self._readers:
            reader.catch_up()
        memory, end = (1 - _STEP) * self._bounds.memory, self.earliest(now)
        changes = self._changes
        while changes and (self._memory > memory or changes[0].version <= end):
            change = changes.popleft()
            self._memory -= _memory_of(change)
            self._dropped += 1
            self.since = max(self.since, change.version)

    def clear(self, since: int) -> None:
        """Forget everything before a time; readers of an earlier one have ended."""
        self._dropped += len(self._changes)
        self._changes.clear()
        self._memory = 0
        self.since = since

    @property
    def end(self) -> int:
        """The number of all changes so far, those that were dropped included."""
        return self._dropped + len(self._changes)

    def begin_reader(self, reader: Reader, version: int) -> int:
        """Return how many changes are not after a version; keep the later ones."""
        self._readers.add(reader)
        if not self._changes or self._changes[-1].version <= version:
            return self.end
        place = bisect_right(self._changes, version, key=attrgetter("version"))
        return self._dropped + place

    def after(self, number: int) -> list[Change]:
        """Return all changes but the first `number`, in order."""
        # From the right, so that the cost does not depend on the earlier ones.
        return list(islice(reversed(self._changes), self.end - number))[::-1]


def _memory_of(change: Change) -> int:
    """Return about the bytes that a change takes."""
    return _CHANGE_BYTES + (len(change.old.encoding) if change.old else 0)
