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
)

Entry = tuple[ValueKey, ...]
"""A line of a property's index: a value and a key. In the index of keys: a key."""

SORT_LIMIT = 500
"""Up to this many candidates are sorted rather than read from another index."""


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
        copy = Row.__new__(Row)
        copy.path, copy.version, copy.created = self.path, self.version, self.created
        copy.encoding = self.encoding or self._record.entity.SerializeToString()
        copy.converted = copy._record = copy._values = None
        return copy

    def values(self, name: str) -> list[ValueKey]:
        """Return the different indexed values of a property, in order."""
        return self.properties().get(name, [])

    def properties(self) -> dict[str, list[ValueKey]]:
        """Return all indexed values; the key is the only value of "__key__"."""
        if self._values is None:
            found: dict[str, set[ValueKey]] = {KEY_PROPERTY: {self.path}}
            for name, value in indexed_values(self.record.entity):
                found.setdefault(name, set()).add(value)
            self._values = {name: sorted(values) for name, values in found.items()}
        return self._values


class KindIndex:
    """The entities of one kind in one namespace, by key and by property.

    The entities with a value are always known. A sorted list is made when a query
    first needs it, and kept in order from then on: most properties never need one.
    """

    def __init__(self, sort_limit: int = SORT_LIMIT) -> None:
        """Make an index without entities."""
        self.sort_limit = sort_limit
        self.rows: dict[Path, Row] = {}
        self.changes = 0
        """The store's number of the last change of one of these entities."""
        self._equal: dict[str, dict[ValueKey, set[Path]]] = {}
        self._entries: dict[str, SortedList[Entry]] = {}

    @classmethod
    def of(cls, rows: Iterable[Row], sort_limit: int = SORT_LIMIT) -> "KindIndex":
        """Return an index of rows, which may be of several kinds."""
        index = cls(sort_limit)
        for row in rows:
            index.replace(row.path, row)
        return index

    @classmethod
    def of_keys(cls, rows: Iterable[Row]) -> "KindIndex":
        """Return an index of rows by their keys alone, which is soon made."""
        index = cls()
        index.rows = {row.path: row for row in rows}
        return index

    def equal(self, name: str, value: ValueKey) -> Collection[Path]:
        """Return the keys of the entities that have a value, in no order."""
        return self._equal.get(name, {}).get(value, ())

    def entries(self, name: str) -> "SortedList[Entry]":
        """Return the index of a property, or of the keys."""
        if name not in self._entries:
            entries: Iterable[Entry] = (
                (value, path)
                for value, paths in self._equal.get(name, {}).items()
                for path in paths
            )
            if name == KEY_PROPERTY:
                entries = ((path,) for path in self.rows)
            self._entries[name] = SortedList(entries)
        return self._entries[name]

    def descendants(self, ancestor: Path) -> Iterator[Path]:
        """Yield the keys that begin with a path, in order."""
        low, high = (ancestor,), (after_descendants(ancestor),)
        for (path,) in self.entries(KEY_PROPERTY).irange(low, high, (True, False)):
            yield path

    def replace(self, path: Path, row: Row | None) -> Row | None:
        """Replace the entity with this key; None deletes it. Return the old row."""
        old = self.rows.pop(path, None)
        if row is not None:
            self.rows[path] = row
        before = old.properties() if old else {}
        after = row.properties() if row else {}
        # Most properties of an update stay the same.
        for name, values in before.items():
            if values != (kept := after.get(name)):
                for value in set(values).difference(kept) if kept else values:
                    self._remove(name, value, path)
        for name, values in after.items():
            if values != (had := before.get(name)):
                for value in set(values).difference(had) if had else values:
                    self._add(name, value, path)
        return old

    def _add(self, name: str, value: ValueKey, path: Path) -> None:
        if name != KEY_PROPERTY:
            self._equal.setdefault(name, {}).setdefault(value, set()).add(path)
        if name in self._entries:
            self._entries[name].add(_entry(name, value, path))

    def _remove(self, name: str, value: ValueKey, path: Path) -> None:
        if name != KEY_PROPERTY:
            values = self._equal[name]
            values[value].remove(path)
            if not values[value]:
                del values[value]
            if not values:
                # Apps may give each entity properties of its own.
                del self._equal[name]
                self._entries.pop(name, None)
        if name in self._entries:
            self._entries[name].remove(_entry(name, value, path))


def _entry(name: str, value: ValueKey, path: Path) -> Entry:
    return (path,) if name == KEY_PROPERTY else (value, path)
