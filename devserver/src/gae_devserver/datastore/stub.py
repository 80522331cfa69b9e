"""The datastore: the SDK's stub in memory, with its known bugs fixed."""

import itertools
import secrets
from collections.abc import Callable, Iterable
from typing import Any

from google.appengine.datastore import datastore_pb, datastore_stub_util
from google.appengine.datastore import entity_bytes_pb2 as entity_pb
from google.appengine.runtime import apiproxy_errors

from gae_devserver.datastore.encoding import add_path, path_of
from gae_devserver.datastore.history import DEFAULT_BOUNDS, Bounds
from gae_devserver.datastore.indexed_store import IndexedStore
from gae_devserver.datastore.needed_indexes import NeedIndexError
from gae_devserver.datastore.property_index import SORT_LIMIT, Row
from gae_devserver.datastore.query_shape import QueryShape, of_v3
from gae_devserver.storage.storage import Storage

_COUNTER_ENDS = {
    datastore_stub_util.SEQUENTIAL: datastore_stub_util._MAX_SEQUENTIAL_COUNTER,
    datastore_stub_util.SCATTERED: datastore_stub_util._MAX_SCATTERED_COUNTER,
}
_YEAR_1980 = 10 * 365 * 86400 * 10**6
"""In microseconds; in milliseconds, it is a time that no computer has seen."""
OnQuery = Callable[[QueryShape], None]
"""Called with each query before it runs; may raise NeedIndexError."""
_NEVER_REACHED = 2**40
"""The ids that always stay free at the end of a counter's range."""


def _microseconds(version: int) -> int:
    """Return a stored version, which earlier releases kept in milliseconds."""
    return version if version > _YEAR_1980 else version * 1000


def _stored_row(encoded: bytes) -> tuple[str, Row]:
    """Return what `_ToStorageEntity` of the SDK has made, with its namespace.

    The row is decoded when it is needed: 100,000 entities take a second to load
    otherwise, and ten times the memory.
    """
    entity = entity_pb.EntityProto.FromString(encoded)
    last = entity.property.pop()
    if last.name != datastore_stub_util._METADATA_PROPERTY_NAME:
        raise ValueError("an entity has no version")
    metadata = entity_pb.EntityMetadata.FromString(last.value.stringValue)
    version = _microseconds(metadata.updated_version)
    created = _microseconds(metadata.created_version) or version
    path, encoding = path_of(entity.key.path.element), entity.SerializeToString()
    return entity.key.name_space, Row.of_encoding(path, encoding, version, created)


class _ImmediateConsistency(datastore_stub_util.BaseConsistencyPolicy):  # type: ignore[misc]
    """Every query sees every earlier commit, as in Firestore.

    Of the SDK's own policies, the default one gives entity groups no version, and the
    other goes through all entity groups with each query.
    """

    def _OnCommit(self, txn: Any) -> None:
        for tracker in txn._GetAllTrackers():
            with tracker._meta_data._write_lock:
                tracker._meta_data.CatchUp()

    def _OnGroom(self, meta_data_list: Any) -> None:
        pass


class Datastore(IndexedStore):
    """The SDK's datastore stub, for one event loop."""

    def __init__(
        self,
        app_id: str,
        storage: Storage | None = None,
        database: str = "",
        *,
        sort_limit: int = SORT_LIMIT,
        remembered: Bounds = DEFAULT_BOUNDS,
        on_query: OnQuery = lambda shape: None,
    ) -> None:
        """Make the datastore, with what `storage` has of this database.

        Its history begins now: the storage has no older versions of entities.
        """
        self._on_query = on_query
        self._storage = storage
        self._database = database
        self._handles = itertools.count(secrets.randbelow(2**32) + 1)
        self.begun: list[int] = []
        """The handles of new transactions, until a request claims them."""
        super().__init__(
            app_id,
            datastore_file=None,
            # so that the stub calls _CheckHasIndex
            require_indexes=True,
            consistency_policy=_ImmediateConsistency(),
            save_changes=False,
            # With a folder the stub would rewrite the app's index.yaml.
            root_path=None,
            use_atexit=False,
            auto_id_policy=datastore_stub_util.SCATTERED,
            sort_limit=sort_limit,
            remembered=remembered,
        )
        if storage is not None:
            self._load(storage)

    def _load(self, storage: Storage) -> None:
        with storage.reading("an entity"):
            self.load(map(_stored_row, storage.entities(self._database)))
        for space in (datastore_stub_util.SEQUENTIAL, datastore_stub_util.SCATTERED):
            counter = storage.counter(self._counter_name(space))
            if counter is not None:
                super()._SetIdCounter(space, counter)

    def _counter_name(self, id_space: Any) -> str:
        return f"{self._database}/ids {id_space}"

    def _StoreRecord(self, record: Any, insert: bool = False) -> None:
        super()._StoreRecord(record, insert)
        if self._storage is not None:
            key = self._row_key(record.entity.key)
            entity = datastore_stub_util._ToStorageEntity(record)
            encoded = entity.SerializeToString()
            self._storage.put_entity(self._database, key, encoded)

    def _Delete(self, key: Any) -> None:
        super()._Delete(key)
        if self._storage is not None:
            self._storage.put_entity(self._database, self._row_key(key), None)

    def Clear(self) -> None:
        """Delete all entities, also the stored ones."""
        super().Clear()
        if self._storage is not None:
            self._storage.clear_entities(self._database)

    def _row_key(self, key: Any) -> bytes:
        """Return one encoding of a key for all messages that mean the same key.

        An empty namespace means none, for example. The stub compares keys like this
        too (datastore_types.ReferenceToKeyValue).
        """
        plain = entity_pb.Reference(app=key.app)
        if self._database:
            plain.database_id = self._database
        if key.name_space:
            plain.name_space = key.name_space
        add_path(path_of(key.path.element), plain.path.element)
        return plain.SerializeToString(deterministic=True)

    def _AllocateSequentialIds(
        self, reference: Any, size: int = 1, max_id: int | None = None
    ) -> Any:
        """Allocate a range of ids, but not at the end of the counter's range."""
        space = datastore_stub_util.SEQUENTIAL
        last = max_id or self._IdCounter(space) + (size or 0)
        limit = _COUNTER_ENDS[space] - _NEVER_REACHED
        datastore_stub_util.Check(
            last < limit, f"ids up to {last} are too large: the limit is {limit}"
        )
        return super()._AllocateSequentialIds(reference, size, max_id)

    def _SetMaxId(self, max_id: int) -> None:
        """Never allocate an id that the app chose or reserved.

        The stub moves its counter behind the id. Behind an id at the end of the range
        no ids would be left. The counter itself never gets that far, nor below zero,
        so such ids need no protection.
        """
        if max_id <= 0:
            return
        count, id_space = datastore_stub_util.IdToCounter(max_id)
        if count < _COUNTER_ENDS[id_space] - _NEVER_REACHED:
            super()._SetMaxId(max_id)

    def _SetIdCounter(self, id_space: Any, value: int) -> None:
        super()._SetIdCounter(id_space, value)
        if self._storage is not None:
            self._storage.set_counter(self._counter_name(id_space), value)

    def BeginTransaction(self, *args: Any, **kwargs: Any) -> Any:
        """Begin a transaction with a handle that is never reused.

        The stub's handle is the address of an object. Python reuses addresses, so a
        late rollback would end the transaction of another request.
        """
        transaction = super().BeginTransaction(*args, **kwargs)
        live = self._txn_map.pop(transaction.handle)
        live.handle = transaction.handle = next(self._handles)
        self._txn_map[live.handle] = live
        self.begun.append(live.handle)
        return transaction

    def _RemoveTxn(self, txn: Any) -> None:
        # Transactions that the stub makes for itself have no handle.
        self._txn_map.pop(getattr(txn, "handle", None), None)

    def _CheckHasIndex(self, query: Any, *args: Any) -> None:
        """Pass on a valid query before it runs."""
        shape = of_v3(query)
        if shape is None:
            return
        try:
            self._on_query(shape)
        except NeedIndexError as error:
            raise apiproxy_errors.ApplicationError(
                datastore_pb.Error.NEED_INDEX, str(error)
            ) from None

    def _DatastoreStub__UpdateQueryHistory(self, query: Any) -> None:
        """Keep no history of queries: it grows forever and only feeds index.yaml."""

    def forget_queries(self, cursors: Iterable[int]) -> None:
        """Forget the results that were not read."""
        for cursor in cursors:
            self._query_cursors.pop(cursor, None)

    def open_transactions(self) -> list[int]:
        """Return the handles of the open transactions."""
        return list(self._txn_map)

    def live_transaction(self, handle: int) -> Any:
        """Return the open transaction with this handle, or None."""
        return self._txn_map.get(handle)
