"""The entities as a query sees them: as they are now, or as they were."""

from collections.abc import Iterator
from typing import Protocol

from gae_devserver.datastore.encoding import Path
from gae_devserver.datastore.history import History
from gae_devserver.datastore.property_index import KindIndex, Row

Kind = tuple[str, str]
"""Namespace and kind."""


class View(Protocol):
    """The entities as a query sees them: now, or as of an earlier time."""

    def kind(self, kind: Kind) -> KindIndex:
        """Return the entities of a kind."""

    def kinds(self) -> Iterator[Kind]:
        """Yield each namespace and kind that has entities."""

    def row(self, namespace: str, path: Path) -> Row | None:
        """Return the entity with a key."""

    def read_time(self) -> int:
        """Return the time that it shows: a read as of then finds the same."""


class Snapshot:
    """The entities as of a time; later changes do not affect it.

    It costs nothing until it is read. Then it takes from the history what has changed
    since, each change once: the cost does not depend on how much is stored. Only a
    query needs more, once for each kind that has changed: the indexes of that kind.
    What the history drops, a snapshot keeps for as long as it is open.
    """

    def __init__(self, store: View, history: History, version: int) -> None:
        """Show what commits up to a version have stored."""
        self._store = store
        self._history = history
        self._version = version
        self._number = history.begin_reader(self, version)
        """How many changes it does not need to look at any more."""
        self._replaced: dict[Kind, dict[Path, Row | None]] = {}
        self._rebuilt: dict[Kind, KindIndex] = {}

    def read_time(self) -> int:
        """Return the time that it shows."""
        return self._version

    def catch_up(self) -> None:
        """Take what the latest changes have replaced."""
        for change in self._history.after(self._number):
            rows = self._replaced.setdefault(change.kind, {})
            # Only the first change after that time replaced what was there.
            if change.path not in rows:
                # A copy: what it derives from the entity ends with the snapshot.
                rows[change.path] = change.old.encoded() if change.old else None
        self._number = self._history.end

    def replaced(self, kind: Kind) -> dict[Path, Row | None]:
        """Return what has changed in a kind since then, as it was then.

        None stands for an entity that did not exist. The dictionary is shared, so do
        not change it.
        """
        self.catch_up()
        return self._replaced.get(kind, {})

    def kind(self, kind: Kind) -> KindIndex:
        """Return the entities of a kind at that time."""
        if kind not in self._rebuilt:
            now, replaced = self._store.kind(kind), self.replaced(kind)
            if not replaced:
                return now
            rows = (now.rows | replaced).values()
            self._rebuilt[kind] = KindIndex.of(
                (row for row in rows if row is not None), now.sort_limit
            )
        return self._rebuilt[kind]

    def kinds(self) -> Iterator[Kind]:
        """Yield each namespace and kind that had entities at that time."""
        self.catch_up()
        for kind in dict.fromkeys([*self._store.kinds(), *self._replaced]):
            replaced = self._replaced.get(kind, {})
            if any(replaced.values()) or any(
                path not in replaced for path in self._store.kind(kind).rows
            ):
                yield kind

    def descendants(self, kind: Kind, ancestor: Path) -> Iterator[Row]:
        """Yield the entities of a kind at that time whose keys begin with a path."""
        now, replaced = self._store.kind(kind), self.replaced(kind)
        for path in now.descendants(ancestor):
            if path not in replaced:
                yield now.rows[path]
        for path, row in replaced.items():
            if row is not None and path[: len(ancestor)] == ancestor:
                yield row

    def row(self, namespace: str, path: Path) -> Row | None:
        """Return the entity that a key had at that time."""
        replaced = self.replaced((namespace, str(path[-3])))
        return replaced[path] if path in replaced else self._store.row(namespace, path)
