"""Sorted indexes over the entities of a kind, as the real datastore keeps them."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Iterable
from operator import itemgetter
from typing import Any

from gae_devserver.datastore.encoding import (
    KEY_PROPERTY,
    Path,
    ValueKey,
    indexed_values,
)

Entry = tuple[ValueKey, Path]
"""A row of a property's index."""


class Row:
    """A stored entity and what the indexes say of it."""

    __slots__ = ("_values", "converted", "path", "record")

    def __init__(self, path: Path, record: Any) -> None:
        self.path = path
        self.record = record
        """The stub's EntityRecord; it is never changed, only replaced."""
        self.converted: Any = None
        """The entity in version 1, once somebody has asked for it."""
        self._values: dict[str, list[ValueKey]] | None = None

    def values(self, name: str) -> list[ValueKey]:
        """Return the different indexed values of a property, in order."""
        return self.properties().get(name, [])

    def properties(self) -> dict[str, list[ValueKey]]:
        """Return all indexed values; the key is the only value of "__key__"."""
        if self._values is None:
            found: dict[str, set[ValueKey]] = {}
            for name, key in indexed_values(self.record.entity):
                found.setdefault(name, set()).add(key)
            self._values = {name: sorted(keys) for name, keys in found.items()}
            self._values[KEY_PROPERTY] = [self.path]
        return self._values


_value = itemgetter(0)


class KindIndex:
    """The entities of one kind in one namespace, by key and by property.

    What has a value is known at once. A sorted list is made when it is first asked
    for and kept in order from then on: most properties never need one.
    """

    def __init__(self) -> None:
        self.rows: dict[Path, Row] = {}
        self.changes = 0
        """Goes up with each change of an entity."""
        self._equal: dict[str, dict[ValueKey, set[Path]]] = {}
        self._paths: list[Path] | None = None
        self._entries: dict[str, list[Entry]] = {}

    @classmethod
    def of(cls, rows: Iterable[Row]) -> "KindIndex":
        """Return an index of rows, which may be of several kinds."""
        index = cls()
        for row in rows:
            index.replace(row.path, row)
        return index

    def paths(self) -> list[Path]:
        """Return all keys in order."""
        if self._paths is None:
            self._paths = sorted(self.rows)
        return self._paths

    def equal(self, name: str, value: ValueKey) -> Collection[Path]:
        """Return the keys of the entities that have a value, in no order."""
        return self._equal.get(name, {}).get(value, ())

    def entries(self, name: str) -> list[Entry]:
        """Return the index of a property: value and key, in order."""
        if name not in self._entries:
            self._entries[name] = sorted(
                (value, path)
                for value, paths in self._equal.get(name, {}).items()
                for path in paths
            )
        return self._entries[name]

    def replace(self, path: Path, row: Row | None) -> Row | None:
        """Put `row` in place of what has this key, or nothing; return the old row."""
        self.changes += 1
        old = self.rows.pop(path, None)
        if row is not None:
            self.rows[path] = row
        if self._paths is not None and (old is None) != (row is None):
            if row is not None:
                insort(self._paths, path)
            else:
                del self._paths[bisect_left(self._paths, path)]
        before = old.properties() if old else {}
        after = row.properties() if row else {}
        for name, values in before.items():
            for value in values:
                if value not in after.get(name, ()):
                    self._remove(name, value, path)
        for name, values in after.items():
            for value in values:
                if value not in before.get(name, ()):
                    self._add(name, value, path)
        return old

    def _add(self, name: str, value: ValueKey, path: Path) -> None:
        if name == KEY_PROPERTY:
            return
        self._equal.setdefault(name, {}).setdefault(value, set()).add(path)
        if name in self._entries:
            insort(self._entries[name], (value, path))

    def _remove(self, name: str, value: ValueKey, path: Path) -> None:
        if name == KEY_PROPERTY:
            return
        paths = self._equal[name][value]
        paths.remove(path)
        if not paths:
            del self._equal[name][value]
        if name in self._entries:
            entries = self._entries[name]
            del entries[bisect_left(entries, (value, path))]


def value_range(
    entries: list[Entry],
    low: ValueKey | None,
    high: ValueKey | None,
    low_inclusive: bool = True,
    high_inclusive: bool = True,
) -> tuple[int, int]:
    """Return where the entries with values between `low` and `high` begin and end."""
    start, stop = 0, len(entries)
    if low is not None:
        side = bisect_left if low_inclusive else bisect_right
        start = side(entries, low, key=_value)
    if high is not None:
        side = bisect_right if high_inclusive else bisect_left
        stop = side(entries, high, key=_value)
    return start, max(start, stop)
