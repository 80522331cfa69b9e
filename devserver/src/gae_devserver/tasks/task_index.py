"""Keeps a queue's tasks in order, so that a change costs the same among many.

The SDK's queue has three sorted lists. Each change moves half of a list, and among
100,000 tasks that took longer than the rest of an add.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import chain, islice
from operator import itemgetter
from typing import Any

Entry = tuple[Any, ...]
"""What a task is sorted by, and the task at the end."""
Place = tuple[int, int]
"""A block and a place in it; good until the next change."""

_LIMIT = 1000
_last = itemgetter(-1)


class TaskIndex:
    """Entries in order, in blocks of which a change moves one."""

    def __init__(self) -> None:
        self._blocks: list[list[Entry]] = []  # none of them is empty
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Entry]:
        return chain.from_iterable(self._blocks)

    def __getitem__(self, place: Place) -> Entry:
        return self._blocks[place[0]][place[1]]

    def find(self, key: Entry) -> Place | None:
        """Return where the first entry is that does not come before `key`."""
        number = bisect_left(self._blocks, key, key=_last)
        if number == len(self._blocks):
            return None
        return number, bisect_left(self._blocks[number], key)

    def add(self, entry: Entry) -> None:
        """Take an entry."""
        self._size += 1
        if not self._blocks:
            self._blocks.append([entry])
            return
        number = bisect_left(self._blocks, entry, key=_last)
        number = min(number, len(self._blocks) - 1)
        block = self._blocks[number]
        insort(block, entry)
        if len(block) > _LIMIT:
            middle = len(block) // 2
            self._blocks[number : number + 1] = [block[:middle], block[middle:]]

    def pop(self, place: Place) -> Entry:
        """Remove the entry at a place, and return it."""
        self._size -= 1
        block = self._blocks[place[0]]
        entry = block.pop(place[1])
        if not block:
            del self._blocks[place[0]]
        return entry

    def between(self, start: Entry, end: Entry | None = None) -> Iterator[Entry]:
        """Yield the entries from `start` on, up to the last one before `end`."""
        place = self.find(start)
        if place is None:
            return
        number, first = place
        for block in islice(self._blocks, number, None):
            for entry in islice(block, first, None):
                if end is not None and entry >= end:
                    return
                yield entry
            first = 0
