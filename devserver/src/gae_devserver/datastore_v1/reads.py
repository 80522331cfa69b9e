"""What a transaction has read, and whether it would read the same now."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice

from gae_devserver.datastore.encoding import Path
from gae_devserver.datastore.index_scan import Hit, find
from gae_devserver.datastore.indexed_store import IndexedStore
from gae_devserver.datastore.property_index import KindIndex, Row
from gae_devserver.datastore.views import Kind, Snapshot
from gae_devserver.datastore_v1.cursors import Place
from gae_devserver.datastore_v1.keys import Address, is_reserved
from gae_devserver.datastore_v1.queries import ParsedQuery

_ENOUGH = 10
"""A transaction fails with the first conflict; it only remembers what it fought for."""


@dataclass(frozen=True)
class QueryRead:
    """The part of a query's results that was read."""

    query: ParsedQuery
    end: Place | None
    """Where reading has stopped; None: it has seen that no result is left."""

    @property
    def of_metadata(self) -> bool:
        """Whether it has listed namespaces, kinds or properties."""
        return is_reserved(self.query.kind)

    def finds(self, namespace: str, row: Row) -> bool:
        """Return whether an entity in a namespace is a result in that part."""
        query = self.query
        own = namespace == query.namespace and query.kind in ("", row.path[-3])
        return own and self.sees(row)

    def sees(self, row: Row) -> bool:
        """Return whether an entity is, or hides, a result in that part."""
        if self.of_metadata:
            return True
        search, start = self.query.search, self.query.start
        if not any(conjunction.matches(row) for conjunction in search.alternatives):
            return False
        index = KindIndex.of([row])
        # Of results with the same values, one before the start hides those after it.
        if start is None or search.distinct:
            hits = find(index, search)
        else:
            hits = find(index, search, start.position, inclusive=start.before)
        return any(
            self.end is None or self.end.follows(hit.position, search.orders)
            for hit in hits
        )


class Reads:
    """Keys and queries that were read, compared with what is stored now."""

    def __init__(self, store: IndexedStore) -> None:
        """Record nothing yet."""
        self._store = store
        self._versions: dict[Address, int] = {}
        """By key; a write that changes nothing keeps the version of an entity."""
        self._queries: list[QueryRead] = []
        self._snapshot: Snapshot | None = None
        """The store when the results of the queries were last known to be the same."""
        self._kinds: set[Kind] = set()
        """All kinds at that time, if a query is on more than one."""
        self._changes = store.changes

    def add_keys(self, addresses: Iterable[Address]) -> None:
        """Record that entities, or that there are none, were read just now."""
        for address in addresses:
            self._versions.setdefault(address, _version(self._store.row(*address)))

    def add_query(self, query: ParsedQuery, last: Hit | None, stopped: bool) -> None:
        """Record that results were read just now; see `Transaction.read_query`."""
        if stopped and last is None:
            return
        end = Place(last.position, before=False) if stopped and last else query.end
        self._queries.append(QueryRead(query, end))
        self._remember()

    def conflicts(self) -> set[Address]:
        """Return a few of the entities whose changes the transaction would see now.

        Those of an ancestor query include the ancestor: what is new below it is found
        by this name the next time.
        """
        if self._changes == self._store.changes:
            return set()
        changed = chain(self._changed_keys(), self._changed_results())
        found = set(islice(changed, _ENOUGH))
        if not found:
            # The next check only needs to look at what changes from now on.
            self._changes = self._store.changes
            self._remember()
        return found

    def _remember(self) -> None:
        if self._queries:
            self._snapshot = self._store.snapshot()
        if any(self._on_many_kinds(read) for read in self._queries):
            self._kinds = set(self._store.kinds())

    def _on_many_kinds(self, read: QueryRead) -> bool:
        return not read.query.kind or read.of_metadata

    def _changed_keys(self) -> Iterator[Address]:
        for address, version in self._versions.items():
            if _version(self._store.row(*address)) != version:
                yield address

    def _changed_results(self) -> Iterator[Address]:
        for read in self._queries:
            for kind in self._kinds_of(read):
                for path, old, new in self._changed_rows(kind):
                    if any(row is not None and read.sees(row) for row in (old, new)):
                        yield kind[0], path
                        if read.query.ancestor is not None:
                            yield kind[0], read.query.ancestor

    def _kinds_of(self, read: QueryRead) -> Iterable[Kind]:
        own = read.query.namespace, read.query.kind
        if not self._on_many_kinds(read):
            return [own]
        kinds = self._kinds.union(self._store.kinds())
        return [kind for kind in kinds if read.of_metadata or kind[0] == own[0]]

    def _changed_rows(
        self, kind: Kind
    ) -> Iterator[tuple[Path, Row | None, Row | None]]:
        assert self._snapshot is not None
        for path, old in self._snapshot.replaced(kind).items():
            new = self._store.row(kind[0], path)
            if _version(old) != _version(new):
                yield path, old, new


def _version(row: Row | None) -> int:
    return row.version if row else 0
