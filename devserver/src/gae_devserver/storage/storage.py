"""Keeps entities, tasks and records in an SQLite file, for --storage.

The stubs work in memory. A call notes its changes here, and they are written in one
SQLite transaction before the call is answered. So acknowledged changes survive SIGKILL
of the server at any moment, and no change is ever stored in part. They may not survive
a power failure: the system decides when data reaches the disk.
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gae_devserver.storage.file import FILE_NAME, Connect, StorageError, StorageFile

__all__ = ["FILE_NAME", "TOMBSTONE_SECONDS", "Storage", "StorageError"]

logger = logging.getLogger("gae_devserver")

TOMBSTONE_SECONDS = 9 * 86400.0
"""How long the name of a finished task stays taken.

Source: "Task names" in App Engine's documentation of push queues: about nine days.
"""


class Storage:
    """The file behind a datastore and a task queue."""

    def __init__(
        self,
        folder: Path,
        project: str,
        *,
        connect: Connect = sqlite3.connect,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Open or make the file in `folder`.

        Args:
            folder: where the file is.
            project: the project whose entities and tasks these are.
            connect: opens the database.
            now: the time of the queues, by which tombstones expire.

        Raises:
            StorageError: the file belongs to another project, is in use, is damaged or
                is not a storage. Nothing was changed.
        """
        self._now = now
        self._file = StorageFile(folder, project, connect)
        self._db = self._file.db
        self._entities: dict[tuple[str, bytes], bytes | None] = {}
        self._tasks: dict[tuple[str, str], bytes | None] = {}
        self._counters: dict[str, int] = {}
        self._queues: dict[str, tuple[bytes | None, bool]] = {}
        self._records: dict[tuple[str, str], bytes | None] = {}
        self._dropped: set[str] = set()
        self._emptied: set[str] = set()
        self._cleared = False

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    # What the last server has stored.

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """Report any error while `what` is read as damage of the file.

        Raises:
            StorageError: there was an error. One changed byte can lead to any kind, in
                SQLite, in protocol buffers and in the stubs.
        """
        try:
            yield
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise self._file.damaged(f"{what} cannot be read: {reason}") from error

    def databases(self) -> list[str]:
        """Return the names of the databases that have entities."""
        with self.reading("the names of databases"):
            rows = self._db.execute("SELECT DISTINCT database FROM entities")
            return [name for (name,) in rows]

    def entities(self, database: str) -> Iterator[bytes]:
        """Yield every entity of a database, as passed to `put_entity`."""
        rows = self._db.execute(
            "SELECT entity FROM entities WHERE database = ?", (database,)
        )
        for (entity,) in rows:
            yield entity

    def queues(self) -> list[tuple[str, bytes | None, bool]]:
        """Return name, settings and state of each queue passed to `put_queue`."""
        with self.reading("a queue"):
            rows = self._db.execute("SELECT name, settings, paused FROM queues")
            return [(name, settings, bool(paused)) for name, settings, paused in rows]

    def tasks(self) -> Iterator[tuple[str, str, bytes | None, float]]:
        """Yield queue, name, task, and when it changed (seconds since the epoch).

        The task is None for a tombstone.
        """
        oldest = self._now() - TOMBSTONE_SECONDS
        yield from self._db.execute(
            "SELECT queue, name, task, changed FROM tasks WHERE task NOT NULL"
            " OR changed > ? ORDER BY changed",
            (oldest,),
        )
        # Delete only after every row was read.
        with self._file.transaction():
            self._db.execute(
                "DELETE FROM tasks WHERE task IS NULL AND changed <= ?", (oldest,)
            )

    def counter(self, name: str) -> int | None:
        """Return a counter's value, or None."""
        if name in self._counters:
            return self._counters[name]
        with self.reading(f"the counter {name!r}"):
            row = self._db.execute(
                "SELECT value FROM counters WHERE name = ?", (name,)
            ).fetchone()
            return None if row is None else int(row[0])

    def records(self, kind: str) -> Iterator[tuple[str, bytes]]:
        """Yield name and contents of every record of a kind, by name."""
        with self.reading(f"a record of {kind}"):
            yield from self._db.execute(
                "SELECT name, record FROM records WHERE kind = ? ORDER BY name", (kind,)
            )

    def record(self, kind: str, name: str) -> bytes | None:
        """Return the contents of a record, or None."""
        if self._cleared or (kind, name) in self._records:
            return self._records.get((kind, name))
        with self.reading(f"the record {name!r} of {kind}"):
            row = self._db.execute(
                "SELECT record FROM records WHERE kind = ? AND name = ?", (kind, name)
            ).fetchone()
            return None if row is None else bytes(row[0])

    # What changes; it is noted until `flush`.

    def put_entity(self, database: str, key: bytes, entity: bytes | None) -> None:
        """Note an entity that was put; None: it was deleted."""
        self._entities[database, key] = entity

    def clear_entities(self, database: str) -> None:
        """Note that all entities of a database are deleted."""
        for noted in [where for where in self._entities if where[0] == database]:
            del self._entities[noted]
        self._emptied.add(database)

    def put_task(self, queue: str, name: str, task: bytes | None) -> None:
        """Note a task that was added or changed; None: only its tombstone is left."""
        self._tasks.pop((queue, name), None)  # the last change comes last
        self._tasks[queue, name] = task

    def put_queue(self, name: str, settings: bytes | None, paused: bool) -> None:
        """Note the state of a queue, and the settings that an API gave it.

        Without `settings`, it has those of queue.yaml.
        """
        self._queues[name] = (settings, paused)

    def drop_queue(self, name: str) -> None:
        """Note that a queue is deleted, with its tasks and tombstones."""
        for noted in [where for where in self._tasks if where[0] == name]:
            del self._tasks[noted]
        self._queues.pop(name, None)
        self._dropped.add(name)

    def set_counter(self, name: str, value: int) -> None:
        """Note a counter's new value."""
        self._counters[name] = value

    def put_record(self, kind: str, name: str, record: bytes | None) -> None:
        """Note a record of another service, such as a mail; None: it was deleted."""
        self._records[kind, name] = record

    def clear(self) -> None:
        """Note that all is deleted: entities, queues, tasks, tombstones and records.

        Counters stay, so ids are not allocated again.
        """
        self._entities.clear()
        self._tasks.clear()
        self._queues.clear()
        self._records.clear()
        self._dropped.clear()
        self._emptied.clear()
        self._cleared = True

    def flush(self) -> None:
        """Write the noted changes to the file in one SQLite transaction.

        Raises:
            StorageError: they cannot be written, for example to a full disk. They stay
                noted, so each later call tries again.
        """
        noted = (self._entities, self._tasks, self._counters)
        others = (self._queues, self._dropped, self._emptied, self._records)
        if not (self._cleared or any((*noted, *others))):
            return
        now = self._now()
        entities = [(*where, entity) for where, entity in self._entities.items()]
        # A microsecond later each, so that tasks with one ETA keep their order.
        tasks = [
            (*where, task, now + number / 1e6)
            for number, (where, task) in enumerate(self._tasks.items())
        ]
        records = [(*where, record) for where, record in self._records.items()]
        queues = [
            (name, settings, int(paused))
            for name, (settings, paused) in self._queues.items()
        ]
        dropped = [(name,) for name in self._dropped]
        many, replace = self._file.execute_many, self._file.replace
        with self._file.transaction():
            if self._cleared:
                for table in ("entities", "tasks", "queues", "records"):
                    self._db.execute(f"DELETE FROM {table}")
            many("DELETE FROM tasks WHERE queue = ?", dropped)
            many(
                "DELETE FROM queues WHERE name = ?",
                [*dropped, *((name,) for name in self._queues)],
            )
            replace("queues", (row for row in queues if any(row[1:])))
            many(
                "DELETE FROM entities WHERE database = ?",
                [(name,) for name in self._emptied],
            )
            many(
                "DELETE FROM entities WHERE database = ? AND key = ?",
                [row[:2] for row in entities if row[2] is None],
            )
            replace("entities", (row for row in entities if row[2] is not None))
            replace("tasks", tasks)
            many(
                "DELETE FROM records WHERE kind = ? AND name = ?",
                [row[:2] for row in records if row[2] is None],
            )
            replace("records", (row for row in records if row[2] is not None))
            replace("counters", self._counters.items())
        self._entities.clear()
        self._tasks.clear()
        self._counters.clear()
        self._queues.clear()
        self._records.clear()
        self._dropped.clear()
        self._emptied.clear()
        self._cleared = False

    def close(self) -> None:
        """Write the noted changes and close the file."""
        try:
            self.flush()
        except StorageError as error:
            # No call acknowledged these changes: each has failed since.
            logger.error("the last changes were not stored: %s", error)
        self._file.close()
