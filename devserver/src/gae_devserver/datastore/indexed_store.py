"""Gives the SDK's datastore stub indexes, snapshots and writes without a transaction.

For each query the SDK's stub reads all entities of a kind, and for each transaction it
copies all entities of a group. This one reads only those that are asked for. It keeps
each entity once, in the index of its kind, and not in the stub's own dictionaries.
"""

import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from google.appengine.api.datastore_file_stub import DatastoreFileStub
from google.appengine.api.datastore_types import EncodeAppIdNamespace, ResolveAppId
from google.appengine.datastore import datastore_pb, datastore_stub_util

from gae_devserver.datastore.encoding import Path, path_of
from gae_devserver.datastore.entity_group import (
    EntityGroup,
    GroupTransaction,
    group_key,
)
from gae_devserver.datastore.history import DEFAULT_BOUNDS, Bounds, Change, History
from gae_devserver.datastore.property_index import SORT_LIMIT, KindIndex, Row
from gae_devserver.datastore.stub_queries import select
from gae_devserver.datastore.views import Kind, Snapshot

_UNKNOWN_MODE = datastore_pb.BeginTransactionRequest.UNKNOWN

_RECENT_GROUPS = 128
"""Of so many entity groups, `__entity_group__` stays the same until they change."""


class IndexedStore(DatastoreFileStub):  # type: ignore[misc]
    """The SDK's datastore stub with an index of each kind."""

    _commit_timestamp: int

    def __init__(
        self,
        *args: Any,
        sort_limit: int = SORT_LIMIT,
        remembered: Bounds = DEFAULT_BOUNDS,
        **kwargs: Any,
    ) -> None:
        """Make the stub; `sort_limit` is that of its indexes."""
        self._sort_limit = sort_limit
        self._kinds: dict[Kind, KindIndex] = {}
        """Only kinds that have entities."""
        self.changes = 0
        """Goes up with each change of any entity."""
        # Before its start it had no entities, unless it loads stored ones.
        self.history = History(0, remembered)
        self._past: Snapshot | None = None
        """The last one as of a time: the batches of a query share its indexes.

        It ends when the history no longer reaches back to its time.
        """
        super().__init__(*args, **kwargs)
        self._forget_unused_groups()

    def _forget_unused_groups(self) -> None:
        """Keep an entity group's number of changes only while something compares it.

        The stub keeps one for each entity group that was ever used. It compares the
        numbers that its transactions have seen, and those refer to the group.
        """
        self._meta_data: Any = weakref.WeakValueDictionary()
        self._recent_groups: deque[Any] = deque(maxlen=_RECENT_GROUPS)

    def kind(self, kind: Kind) -> KindIndex:
        """Return the entities of a kind."""
        return self._kinds.get(kind) or KindIndex(self._sort_limit)

    def kinds(self) -> Iterator[Kind]:
        """Yield each namespace and kind that has entities."""
        return iter(self._kinds)

    def read_time(self) -> int:
        """Return the time of a read that is made now; later commits get later times.

        It may be ahead of the clock after several commits in one microsecond.
        """
        now = time.time_ns() // 1000
        self._commit_timestamp = max(self._commit_timestamp, now)
        return self._commit_timestamp

    def snapshot(self) -> Snapshot:
        """Return a view of the entities that later changes do not affect."""
        return Snapshot(self, self.history, self.read_time())

    def as_of(self, version: int) -> Snapshot:
        """Return the entities as of a time that is not in the future.

        The history must reach back to it.
        """
        if self._past is None or self._past.read_time() != version:
            self._past = Snapshot(self, self.history, version)
        return self._past

    def forget_past(self, since: int | None = None) -> None:
        """Remember nothing of what was before now, or before an earlier time."""
        self._past = None
        self.history.clear(self.read_time() if since is None else since)

    def row(self, namespace: str, path: Path) -> Row | None:
        """Return the entity with a key."""
        index = self._kinds.get((namespace, str(path[-3])))
        return index.rows.get(path) if index else None

    def load(self, rows: Iterable[tuple[str, Row]]) -> None:
        """Take over rows with their namespaces; before, the store is empty.

        Its history begins now, and new versions continue after the last of these.
        """
        kinds: dict[Kind, list[Row]] = {}
        for namespace, row in rows:
            kinds.setdefault((namespace, str(row.path[-3])), []).append(row)
            self._commit_timestamp = max(self._commit_timestamp, row.version)
        self.changes += 1
        for kind, own in kinds.items():
            self._kinds[kind] = index = KindIndex.of(own, self._sort_limit)
            index.changes = self.changes
        self.forget_past()

    def write(self, entities: Iterable[Any], deleted: Iterable[Any]) -> int:
        """Delete keys and put entities of version 3 in one step; return the version.

        An entity that is deleted and put is created again.
        The store keeps these objects, so the caller must not change them afterwards.
        Transactions of the stub that have read one of their groups fail at commit.
        """
        version: int = self._IncrementAndGetCommitTimestamp()
        for key in deleted:
            self._add_change(key, version)
            self._Delete(key)
        for entity in entities:
            self._add_change(entity.key, version)
            datastore_stub_util.PrepareSpecialPropertiesForStore(entity)
            record = datastore_stub_util.EntityRecord(entity)
            record.metadata.updated_version = version
            namespace, path = entity.key.name_space, path_of(entity.key.path.element)
            old = self.row(namespace, path)
            if old is not None and old.record.entity == entity:
                # A write that changes nothing makes no new version.
                record.metadata.updated_version = old.version
            self._StoreRecord(record)
        return version

    def _add_change(self, key: Any, version: int) -> None:
        group = self._meta_data.get(group_key(key))
        # No transaction has seen any other group.
        if group is not None:
            group._log_pos = version

    def _GetMetaData(self, entity_group: Any) -> Any:
        group = super()._GetMetaData(entity_group)
        if group._log_pos < 0:
            # It is new. No number of the same group before was greater: the stub adds
            # one with each commit, and each commit has a version of its own.
            group._log_pos = self._GetReadTimestamp()
        self._recent_groups.append(group)
        return group

    def _changed(self, key: Any, record: Any) -> None:
        path = path_of(key.path.element)
        kind = (key.name_space, str(path[-3]))
        index = self.kind(kind)
        old = index.rows.get(path)
        if record is None and old is None:
            return
        self.changes += 1
        row = None
        if old is not None:
            path = old.path  # the same, so that the history keeps it once
        if record is not None:
            metadata = record.metadata
            created = old.created if old else metadata.created_version
            metadata.created_version = created or metadata.updated_version
            row = Row(path, record)
        index.replace(path, row)
        index.changes = self.changes
        if schemas := self._DatastoreFileStub__schema_cache:
            schemas.pop((EncodeAppIdNamespace(key.app, key.name_space), kind[1]), None)
        self._kinds[kind] = index
        if not index.rows:
            del self._kinds[kind]
        before = old.encoded() if old else None
        self.history.add(Change(self._commit_timestamp, kind, path, before))
        if self._past is not None and self._past.read_time() < self.history.since:
            self._past = None  # else it would keep all that the history drops

    # The methods below override those of the stub.

    def _IncrementAndGetCommitTimestamp(self) -> int:
        """Return the version of a commit: its time, and of no other commit.

        Versions are microseconds, as those of the service are. The stub's are
        milliseconds: a read as of a time could not tell what was committed just after.
        """
        self._commit_timestamp += 1
        return self.read_time()

    def _StoreRecord(self, record: Any, insert: bool = False) -> None:
        key = record.entity.key
        assert not insert or self._Get(key) is None
        self._changed(key, record)

    def _Delete(self, key: Any) -> None:
        self._changed(key, None)

    def _AllocateIds(self, keys: Iterable[Any]) -> list[Any]:
        """Complete keys with ids, but skip ids that entities already have.

        Each server counts ids from the start. Entities that the app restores from an
        earlier run already have the ids that come next.
        """
        allocated: list[Any] = []
        for key in keys:
            complete = super()._AllocateIds([key])
            while complete and self.row(key.name_space, path_of(key.path.element)):
                key.path.element[-1].ClearField("id")
                complete = super()._AllocateIds([key])
            allocated += complete
        return allocated

    def Clear(self) -> None:
        """Forget all entities."""
        super().Clear()
        self._kinds.clear()
        self._forget_unused_groups()
        self.changes += 1
        self.forget_past(self._IncrementAndGetCommitTimestamp())

    def assertPbIsInitialized(self, pb: Any) -> None:
        """Encode no message only to check it: `CheckRequest` checks the requests.

        The answers are checked when they are encoded to be sent.
        """

    def GetTxn(self, transaction: Any, request_trusted: Any, request_app: Any) -> Any:
        """Return an open transaction; only the stub makes the text of an error."""
        live = self._txn_map.get(transaction.handle)
        if live is not None and live._app == transaction.app == request_app:
            return live
        return super().GetTxn(transaction, request_trusted, request_app)

    def Get(
        self,
        raw_keys: Iterable[Any],
        transaction: Any = None,
        eventual_consistency: bool = False,
        trusted: bool = False,
        calling_app: str | None = None,
    ) -> list[Any]:
        """Get entities; the stub would begin and commit a transaction of its own."""
        if transaction or eventual_consistency:
            found: list[Any] = super().Get(
                raw_keys, transaction, eventual_consistency, trusted, calling_app
            )
            return found
        app = ResolveAppId(calling_app)
        for key in raw_keys:
            datastore_stub_util.CheckReference(trusted, app, key)
            datastore_stub_util._GetEntityGroup(key)  # refuses an incomplete root
        return [self._GetWithPseudoKinds(None, key) for key in raw_keys]

    def _GetAllEntities(self) -> Mapping[tuple[str, str], Mapping[Path, Row]]:
        return {
            (EncodeAppIdNamespace(self._app_id, namespace), kind): index.rows
            for (namespace, kind), index in self._kinds.items()
        }

    def _Get(self, key: Any) -> Any:
        row = self.row(key.name_space, path_of(key.path.element))
        return None if row is None else datastore_stub_util.LoadRecord(row.record)

    def _BeginTransaction(
        self, app: str, allow_multiple_eg: bool, mode: Any = _UNKNOWN_MODE
    ) -> GroupTransaction:
        return GroupTransaction(self, app, allow_multiple_eg, mode)

    def _GrabSnapshot(self, entity_group: Any) -> tuple[Any, int, int, EntityGroup]:
        group = self._GetMetaData(entity_group)
        with group._write_lock:
            group.CatchUp()
        snapshot = self.snapshot()
        path = path_of(entity_group.path.element)
        entities = EntityGroup(snapshot, entity_group.name_space, path)
        return group, group._log_pos, snapshot.read_time(), entities

    def _GetQueryCursor(
        self, query: Any, filters: Any, orders: Any, index_list: Any
    ) -> Any:
        if query.HasField("kind") and query.kind in self._pseudo_kinds:
            found, filters, orders = self._pseudo_kinds[query.kind].Query(
                query, filters, orders
            )
            records = [datastore_stub_util.EntityRecord(entity) for entity in found]
        elif (selected := select(self, query, filters, orders)) is not None:
            records = [hit.row.record for hit in selected]
        else:
            records = [
                row.record
                for (namespace, kind), index in self._kinds.items()
                if namespace == query.name_space
                and (kind == query.kind or not query.HasField("kind"))
                for row in index.rows.values()
            ]
        return datastore_stub_util._ExecuteQuery(
            records, query, filters, orders, index_list
        )
