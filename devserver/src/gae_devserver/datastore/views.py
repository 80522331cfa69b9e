"""The entities as a query sees them: as they are now, or as they were."""

from collections.abc import Iterator
from typing import Protocol

from gae_devserver.datastore.encoding import Path
from gae_devserver.datastore.property_index import KindIndex, Row

Kind = tuple[str, str]
"""Namespace and kind."""


class View(Protocol):
    """The entities as a query sees them: now, or in a snapshot."""

    def kind(self, kind: Kind) -> KindIndex:
        """Return the entities of a kind."""

    def kinds(self) -> Iterator[Kind]:
        """Yield each namespace and kind that has entities."""

    def row(self, namespace: str, path: Path) -> Row | None:
        """Return the entity with a key."""


class Snapshot:
    """The entities at the time of its creation, for a read-only transaction.

    The newest snapshot keeps what each change replaces. An older one refers to it, and
    looks there for what has changed since: so the cost of a change does not depend on
    how many snapshots there are.
    """

    def __init__(self, store: View) -> None:
        self._store = store
        self._before: dict[Kind, dict[Path, Row | None]] = {}
        self._rebuilt: dict[Kind, KindIndex] = {}
        self._newer: Snapshot | None = None

    def remember(self, kind: Kind, path: Path, row: Row | None) -> None:
        """Keep the row that a key had before its first change."""
        self._before.setdefault(kind, {}).setdefault(path, row)

    def next(self) -> "Snapshot":
        """Return a snapshot of the entities as they are now, if this is the newest."""
        if not self._before:
            return self
        self._newer = Snapshot(self._store)
        return self._newer

    def _from_here(self) -> "Iterator[Snapshot]":
        snapshot: Snapshot | None = self
        while snapshot is not None:
            yield snapshot
            snapshot = snapshot._newer

    def kind(self, kind: Kind) -> KindIndex:
        """Return the entities of a kind at that time."""
        now = self._store.kind(kind)
        replaced = self.replaced(kind)
        if not replaced:
            return now
        if kind not in self._rebuilt:
            rows = (now.rows | replaced).values()
            self._rebuilt[kind] = KindIndex.of(
                (row for row in rows if row is not None), now.sort_limit
            )
        return self._rebuilt[kind]

    def replaced(self, kind: Kind) -> dict[Path, Row | None]:
        """Return what has changed in a kind since then, as it was then.

        None stands for an entity that did not exist.
        """
        rows: dict[Path, Row | None] = {}
        for snapshot in self._from_here():
            rows = snapshot._before.get(kind, {}) | rows
        return rows

    def kinds(self) -> Iterator[Kind]:
        """Yield each namespace and kind that had entities at that time."""
        seen = dict.fromkeys(self._store.kinds())
        for snapshot in self._from_here():
            seen |= dict.fromkeys(snapshot._before)
        return (kind for kind in seen if self.kind(kind).rows)

    def row(self, namespace: str, path: Path) -> Row | None:
        """Return the entity that a key had at that time."""
        kind = (namespace, str(path[-3]))
        for snapshot in self._from_here():
            before = snapshot._before.get(kind, {})
            if path in before:
                return before[path]
        return self._store.row(namespace, path)
