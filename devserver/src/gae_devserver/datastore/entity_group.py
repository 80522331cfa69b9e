"""Entity groups, as the transactions of the SDK's stub see them."""

from collections.abc import Iterator
from typing import Any

from google.appengine.datastore import datastore_stub_util

from gae_devserver.datastore.encoding import KEY, Path, text_of
from gae_devserver.datastore.property_index import Row
from gae_devserver.datastore.views import Snapshot

StubKey = tuple[Any, ...]
"""A key as the stub keeps it: see `datastore_types.ReferenceToKeyValue`."""


def group_key(reference: Any) -> StubKey:
    """Return the stub's key of an entity group, sooner than the stub does."""
    root = reference.path.element[0]
    name = root.name if root.HasField("name") else root.id
    return KEY, reference.app, reference.name_space, root.type, name


class EntityGroup:
    """The entities of a group: what the stub uses of a dictionary of their records.

    The stub takes one for each transaction. It reads nothing until it is asked, so its
    cost does not depend on how many entities the group has.
    """

    def __init__(self, snapshot: Snapshot, namespace: str, root: Path) -> None:
        """Show the entities in a snapshot whose keys begin with `root`."""
        self._snapshot = snapshot
        self._namespace = namespace
        self._root = root
        self._rows: dict[StubKey, Row | None] = {}

    def __contains__(self, key: StubKey) -> bool:
        """Return whether there is an entity with a key of this group."""
        return self._row(key) is not None

    def __getitem__(self, key: StubKey) -> Any:
        """Return the record of an entity that exists."""
        row = self._row(key)
        if row is None:
            raise KeyError(key)
        return row.record

    def get(self, key: StubKey) -> Any:
        """Return the record of an entity; None: there is none."""
        row = self._row(key)
        return None if row is None else row.record

    def records(self, kind: str | None) -> Iterator[Any]:
        """Yield the records of all entities of a kind; None: of all kinds."""
        for own in list(self._snapshot.kinds()):
            if own[0] == self._namespace and kind in (None, own[1]):
                for row in self._snapshot.descendants(own, self._root):
                    yield row.record

    def _row(self, key: StubKey) -> Row | None:
        if key not in self._rows:
            # before the path: the type of the value, the app and the namespace
            path: list[str | int] = []
            for kind, name in zip(key[3::2], key[4::2], strict=True):
                if isinstance(name, int):
                    path += (text_of(kind), 0, name)
                else:
                    path += (text_of(kind), 1, text_of(name))
            self._rows[key] = self._snapshot.row(self._namespace, tuple(path))
        return self._rows[key]


class GroupTransaction(datastore_stub_util.LiveTxn):  # type: ignore[misc]
    """The stub's transaction; a query reads the entities of its kind alone."""

    def _GetTracker(self, reference: Any) -> Any:
        tracker = self._entity_groups.get(group_key(reference))
        return super()._GetTracker(reference) if tracker is None else tracker

    @datastore_stub_util._SynchronizeTxn  # type: ignore[untyped-decorator]
    def GetQueryCursor(
        self, query: Any, filters: Any, orders: Any, index_list: Any
    ) -> Any:
        """Run a query on the entity group of its ancestor."""
        datastore_stub_util.Check(
            query.HasField("ancestor"),
            "Query must have an ancestor when performed in a transaction.",
        )
        group = self._GrabSnapshot(query.ancestor)
        records = group.records(query.kind if query.HasField("kind") else None)
        return datastore_stub_util._ExecuteQuery(
            list(records), query, filters, orders, index_list
        )
