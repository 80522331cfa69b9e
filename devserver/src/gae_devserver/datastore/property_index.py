"""Sorted indexes over the entities of a kind, as the real datastore keeps them."""

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from google.appengine.datastore import datastore_stub_util
from google.appengine.datastore import entity_bytes_pb2 as entity_pb
from sortedcontainers import SortedList

from gae_devserver.datastore.encoding import (
    KEY_PROPERTY,
    Path,
    ValueKey,
    after_descendants,
    indexed_values,
    values_of,
)

Entry = tuple[ValueKey, ...]
"""A line of a property's index: a value and a key. In the index of keys: a key."""

SORT_LIMIT = 500
"""Up to this many candidates are sorted rather than read from another index."""

REMEMBERED_RESULTS = 20_000
"""So many results of unfinished queries are remembered in each kind."""

_SINGLE = 16
"""So many properties of a kind are indexed one by one, then all others at once."""


class Row:
    """A stored entity and its indexed values."""

    __slots__ = (
        "_record",
        "_values",
        "converted",
        "created",
        "encoding",
        "path",
        "version",
    )

    def __init__(self, path: Path, record: Any) -> None:
        self.path = path
        self.encoding = b""
        """The entity of an encoded copy; empty for any other row."""
        self.converted: Any = None
        """The entity in version 1, once it was needed."""
        self._record = record
        self._values: dict[str, list[ValueKey]] | None = None
        # The stub uses the metadata of an entity again for its next version.
        self.version: int = record.metadata.updated_version
        """The time of its last change."""
        self.created: int = record.metadata.created_version
        """The time of its creation."""

    @property
    def record(self) -> Any:
        """The stub's EntityRecord; its entity is never changed, only replaced."""
        if self._record is None:
            entity = entity_pb.EntityProto.FromString(self.encoding)
            metadata = entity_pb.EntityMetadata(
                updated_version=self.version, created_version=self.created
            )
            self._record = datastore_stub_util.EntityRecord(entity, metadata)
        return self._record

    def encoded(self) -> "Row":
        """Return a copy that is decoded when it is read.

        Until then it takes a few hundred bytes and the encoding, not some kilobytes.
        """
        encoding = self.encoding or self._record.entity.SerializeToString()
        return Row.of_encoding(self.path, encoding, self.version, self.created)

    @classmethod
    def of_encoding(
        cls, path: Path, encoding: bytes, version: int, created: int
    ) -> "Row":
        """Return a row whose entity is decoded when it is read."""
        row = cls.__new__(cls)
        row.path, row.version, row.created = path, version, created
        row.encoding = encoding
        row.converted = row._record = row._values = None
        return row

    def values(self, name: str) -> list[ValueKey]:
        """Return the different indexed values of a property, in order."""
        return self.properties().get(name, [])

    def find_values(self, name: str) -> Collection[ValueKey]:
        """Return the same in no order, and keep nothing that is decoded for it."""
        if self._values is not None:
            return self._values.get(name, ())
        if self._record is not None:
            entity = self._record.entity
        else:
            entity = entity_pb.EntityProto.FromString(self.encoding)
        return set(values_of(name, entity))

    def properties(self) -> dict[str, list[ValueKey]]:
        """Return all indexed values; the key is the only value of "__key__"."""
        if self._values is None:
            found: dict[str, set[ValueKey]] = {KEY_PROPERTY: {self.path}}
            for name, value in indexed_values(self.record.entity):
                found.setdefault(name, set()).add(value)
            self._values = {name: sorted(values) for name, values in found.items()}
        return self._values


class UnfinishedQueries:
    """The sorted results of the last queries that were not read to their end.

    A client reads a query in batches of 300, and each batch would sort it again.
    """

    def __init__(self) -> None:
        """Remember none."""
        self._found: list[tuple[Any, list[Any]]] = []

    def get(self, query: Any) -> list[Any] | None:
        """Return the results of a query, if they are remembered."""
        return next((found for own, found in self._found if own == query), None)

    def put(self, query: Any, found: list[Any]) -> None:
        """Remember the results of a query, and forget others for which no room is."""
        self._found.append((query, found))
        left = REMEMBERED_RESULTS
        for place in range(len(self._found), 0, -1):
            left -= len(self._found[place - 1][1])
            if left < 0:
                del self._found[:place]
                break

    def forget(self, query: Any) -> None:
        """Forget a query that was read to its end."""
        self._found = [entry for entry in self._found if entry[0] != query]

    def clear(self) -> None:
        """Forget all, because something has changed."""
        if self._found:
            self._found.clear()


class KindIndex:
    """The entities of one kind in one namespace, by key and by property.

    What an entity has costs nothing until a query needs it: most properties never get
    an index, and a sorted list is made only for some of them. From its first use on, an
    index is kept up to date.
    """

    def __init__(self, sort_limit: int = SORT_LIMIT) -> None:
        """Make an index without entities."""
        self.sort_limit = sort_limit
        self.rows: dict[Path, Row] = {}
        self.changes = 0
        """The store's number of the last change of one of these entities."""
        self.unfinished = UnfinishedQueries()
        """Queries that were sorted, until one of these entities changes."""
        self._equal: dict[str, dict[ValueKey, set[Path]]] = {}
        self._entries: dict[str, SortedList[Entry]] = {}
        self._is_complete = False
        """Whether `_equal` has all properties, not only those that were needed."""

    @classmethod
    def of(cls, rows: Iterable[Row], sort_limit: int = SORT_LIMIT) -> "KindIndex":
        """Return an index of rows, which may be of several kinds."""
        index = cls(sort_limit)
        index.rows = {row.path: row for row in rows}
        return index

    def equal(self, name: str, value: ValueKey) -> Collection[Path]:
        """Return the keys of the entities that have a value, in no order."""
        return self._values(name).get(value, ())

    def entries(self, name: str) -> "SortedList[Entry]":
        """Return the index of a property, or of the keys."""
        if name not in self._entries:
            entries: Iterable[Entry]
            if name == KEY_PROPERTY:
                entries = ((path,) for path in self.rows)
            else:
                entries = (
                    (value, path)
                    for value, paths in self._values(name).items()
                    for path in paths
                )
            self._entries[name] = SortedList(entries)
        return self._entries[name]

    def descendants(self, ancestor: Path) -> Iterator[Path]:
        """Yield the keys that begin with a path, in order."""
        low, high = (ancestor,), (after_descendants(ancestor),)
        for (path,) in self.entries(KEY_PROPERTY).irange(low, high, (True, False)):
            yield path

    def _values(self, name: str) -> dict[ValueKey, set[Path]]:
        """Return the keys of the entities by their values of a property."""
        if name not in self._equal and not self._is_complete:
            if len(self._equal) >= _SINGLE:
                self._complete()
            else:
                values = self._equal[name] = {}
                for path, row in self.rows.items():
                    for value in row.find_values(name):
                        values.setdefault(value, set()).add(path)
        return self._equal.get(name, {})

    def _complete(self) -> None:
        """Index all properties: queries may name a new one each time."""
        self._is_complete = True
        known = {*self._equal, KEY_PROPERTY}
        for path, row in self.rows.items():
            for name, values in row.properties().items():
                if name not in known:
                    for value in values:
                        self._add(name, value, path)

    def replace(self, path: Path, row: Row | None) -> Row | None:
        """Replace the entity with this key; None deletes it. Return the old row."""
        self.unfinished.clear()
        old = self.rows.pop(path, None)
        if row is not None:
            self.rows[path] = row
        keys = self._entries.get(KEY_PROPERTY)
        if keys is not None and (old is None) != (row is None):
            if row is None:
                keys.remove((path,))
            else:
                keys.add((path,))
        if self._equal or self._is_complete:
            self._replace_values(path, old, row)
        return old

    def _replace_values(self, path: Path, old: Row | None, row: Row | None) -> None:
        before = old.properties() if old else {}
        after = row.properties() if row else {}
        # Most properties of an update stay the same.
        for name, values in before.items():
            if values != (kept := after.get(name)) and self._has(name):
                for value in set(values).difference(kept) if kept else values:
                    self._remove(name, value, path)
        for name, values in after.items():
            if values != (had := before.get(name)) and self._has(name):
                for value in set(values).difference(had) if had else values:
                    self._add(name, value, path)

    def _has(self, name: str) -> bool:
        return name in self._equal or (self._is_complete and name != KEY_PROPERTY)

    def _add(self, name: str, value: ValueKey, path: Path) -> None:
        self._equal.setdefault(name, {}).setdefault(value, set()).add(path)
        if name in self._entries:
            self._entries[name].add((value, path))

    def _remove(self, name: str, value: ValueKey, path: Path) -> None:
        values = self._equal[name]
        values[value].remove(path)
        if not values[value]:
            del values[value]
        if name in self._entries:
            self._entries[name].remove((value, path))
        if not values and self._is_complete:
            # Apps may give each entity properties of its own.
            del self._equal[name]
            self._entries.pop(name, None)
