"""The databases of the project: the bundled API's own, and named ones."""

from dataclasses import dataclass

from gae_devserver.datastore.calls import DatastoreCalls
from gae_devserver.datastore.entity_locks import EntityGroupLocks
from gae_devserver.datastore.stub import Datastore
from gae_devserver.datastore_v1.keys import Partition
from gae_devserver.storage.storage import Storage


@dataclass(frozen=True)
class Database:
    """One database."""

    partition: Partition
    store: Datastore
    locks: EntityGroupLocks


class Databases:
    """All databases; a named one is made when it is first asked for."""

    def __init__(
        self, calls: DatastoreCalls, app_id: str, storage: Storage | None = None
    ) -> None:
        self._app_id = app_id
        self._storage = storage
        default = Database(Partition(app_id, ""), calls.stub, calls.locks)
        self._databases = {"": default}
        # now: what cannot be read is to be heard of when the server starts
        for name in storage.databases() if storage else ():
            self.get(Partition(app_id, name))

    def get(self, partition: Partition) -> Database:
        """Return the database of a request."""
        name = partition.database
        if name not in self._databases:
            store = Datastore(self._app_id, self._storage, name)
            locks = EntityGroupLocks()
            self._databases[name] = Database(partition, store, locks)
        return self._databases[name]

    def clear(self) -> None:
        """Forget what named databases hold; the default one is its owner's to clear.

        They stay, as no id is to be handed out again.
        """
        for name, database in self._databases.items():
            if name:
                database.store.Clear()
