"""How long transactions wait for each other, by what they have done lately."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gae_devserver.datastore_v1.keys import Address

_WAIT_IN_LINE = 2
"""One conflict may be an accident; two within the time below are contention."""
_MOST = 4
_SECONDS = 10.0
_LIMIT = 1000


@dataclass
class _Mark:
    score: int = 0
    until: float = 0.0


class Contention:
    """How long a transaction waits for another one that has read the same entity.

    - At first, for a moment: of several that add to one counter, each is done in a few
      milliseconds, and without the wait all but one would fail at their commit.
    - After two conflicts, longer: those that take their time would fail again when they
      come back together. They get the entity in turn, until ten seconds pass without a
      conflict or a wait, or until most of those that have waited do not write it.
    - Not at all, if another one has waited in vain: the entity was not written.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without any conflict."""
        self._clock = clock
        # The one that expires first comes first.
        self._marks: dict[Address, _Mark] = {}

    def __bool__(self) -> bool:
        """Return whether anything is known of any entity."""
        self._expire()
        return bool(self._marks)

    def __contains__(self, address: Address) -> bool:
        """Return whether transactions get an entity in turn."""
        self._expire()
        mark = self._marks.get(address)
        return mark is not None and mark.score >= _WAIT_IN_LINE

    def is_shared(self, address: Address) -> bool:
        """Return whether transactions need not wait to read an entity."""
        mark = self._marks.get(address)
        return mark is not None and mark.score < 0

    def __iter__(self) -> Iterator[Address]:
        """Yield all entities that transactions get in turn."""
        self._expire()
        marks = list(self._marks.items())
        return (address for address, mark in marks if mark.score >= _WAIT_IN_LINE)

    def conflict(self, address: Address) -> None:
        """Note that a transaction has failed because an entity has changed."""
        self._expire()
        mark = self._marks.pop(address, _Mark())
        mark.score = min(mark.score + 1, _MOST)
        self._renew(address, mark)

    def wait(self, address: Address) -> None:
        """Note that a transaction waits in line."""
        if mark := self._marks.pop(address, None):
            self._renew(address, mark)

    def settle(
        self, address: Address, *, written: bool, kept_waiting: bool = False
    ) -> None:
        """Note whether a transaction that had its turn has written the entity.

        `kept_waiting` tells that another one has waited for it.
        """
        mark = self._marks.get(address)
        if mark is None:
            if kept_waiting and not written:
                self._renew(address, _Mark(-1))
            return
        mark.score = min(mark.score + (1 if written else -1), _MOST)
        if mark.score <= 0 and not written:
            mark.score = -1
        elif not mark.score:
            del self._marks[address]

    def clear(self) -> None:
        """Forget everything."""
        self._marks.clear()

    def _expire(self) -> None:
        now = self._clock()
        while self._marks and next(iter(self._marks.values())).until < now:
            del self._marks[next(iter(self._marks))]

    def _renew(self, address: Address, mark: _Mark) -> None:
        mark.until = self._clock() + _SECONDS
        self._marks[address] = mark
        if len(self._marks) > _LIMIT:
            del self._marks[next(iter(self._marks))]
