"""The databases of the project: the default one, for both APIs, and named ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gae_devserver.datastore.calls import DatastoreCalls
from gae_devserver.datastore.entity_locks import EntityGroupLocks
from gae_devserver.datastore.stub import Datastore
from gae_devserver.datastore_v1.contention import Contention
from gae_devserver.datastore_v1.keys import Partition
from gae_devserver.datastore_v1.limits import Limits
from gae_devserver.storage.storage import Storage


@dataclass(frozen=True)
class Database:
    """One database."""

    partition: Partition
    store: Datastore
    locks: EntityGroupLocks
    limits: Limits
    contention: Contention = field(default_factory=Contention)


class Databases:
    """All databases; a named one is made on first use."""

    def __init__(
        self,
        calls: DatastoreCalls,
        app_id: str,
        limits: Limits,
        storage: Storage | None,
    ) -> None:
        self._app_id = app_id
        self._limits = limits
        self._storage = storage
        default = Database(Partition(app_id, ""), calls.stub, calls.locks, limits)
        self._databases = {"": default}
        self._empty_since: int | None = None
        # Read them now, so that an unreadable entity stops the start of the server.
        for name in storage.databases() if storage else ():
            self.get(Partition(app_id, name))
        # Until its first use, any other database is empty: since the start at least.
        self._empty_since = calls.stub.history.since

    @property
    def named(self) -> Mapping[str, Database]:
        """The databases that were used, by name; "" is the default one."""
        return self._databases

    def get(self, partition: Partition) -> Database:
        """Return the database of a request."""
        name = partition.database
        if name not in self._databases:
            store = Datastore(self._app_id, self._storage, name)
            if self._empty_since is not None:
                store.forget_past(self._empty_since)
            locks = EntityGroupLocks()
            self._databases[name] = Database(partition, store, locks, self._limits)
        return self._databases[name]

    def clear(self) -> None:
        """Delete all entities of named databases; the caller clears the default one.

        The databases themselves remain, so that no id is allocated twice.
        """
        for name, database in self._databases.items():
            database.contention.clear()
            if name:
                database.locks.clear()
                database.store.Clear()
