"""Keeps entities and tasks in an SQLite file, for --storage.

The stubs keep working in memory. What a call changes is noted here as it happens, and
written in one SQLite transaction before the call is answered. So what was acknowledged
survives SIGKILL of the server at any moment, and nothing is ever half there. The
promise is SIGKILL, not power loss: the file is left to the system's cache.
"""

import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gae_devserver.storage.file import FILE_NAME, StorageError, StorageFile

__all__ = ["FILE_NAME", "TOMBSTONE_SECONDS", "Storage", "StorageError"]

logger = logging.getLogger("gae_devserver")

TOMBSTONE_SECONDS = 9 * 86400.0
"""How long the name of a finished task stays taken.

Source: "Task names" in App Engine's documentation of push queues: about nine days.
"""


class Storage:
    """The file behind a datastore and a task queue."""

    def __init__(self, folder: Path, project: str) -> None:
        """Open or make the file in `folder`.

        Raises:
            StorageError: it belongs to another project, is in use, is damaged, or is
                no such file at all. Nothing was changed.
        """
        self._file = StorageFile(folder, project)
        self._db = self._file.db
        self._entities: dict[tuple[str, bytes], bytes | None] = {}
        self._tasks: dict[tuple[str, str], bytes | None] = {}
        self._counters: dict[str, int] = {}
        self._cleared = False

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    # what was stored when the server ended

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """Take what goes wrong with `what` was stored for damage of the file.

        Raises:
            StorageError: anything has gone wrong: a byte that has changed can lead to
                every kind of error, in SQLite, in a message and in the stubs.
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
        """Yield every entity of a database, as `put_entity` got it."""
        rows = self._db.execute(
            "SELECT entity FROM entities WHERE database = ?", (database,)
        )
        for (entity,) in rows:
            yield entity

    def tasks(self) -> Iterator[tuple[str, str, bytes | None]]:
        """Yield queue, name and task; None in place of a task is a tombstone."""
        oldest = time.time() - TOMBSTONE_SECONDS
        yield from self._db.execute(
            "SELECT queue, name, task FROM tasks WHERE task NOT NULL OR changed > ?",
            (oldest,),
        )
        # last, as nothing is changed before all could be read
        with self._transaction():
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

    # what changes, noted until `flush`

    def put_entity(self, database: str, key: bytes, entity: bytes | None) -> None:
        """Note an entity that was written, or deleted (None)."""
        self._entities[database, key] = entity

    def put_task(self, queue: str, name: str, task: bytes | None) -> None:
        """Note a task that was added or changed; None: only its name stays taken."""
        self._tasks[queue, name] = task

    def set_counter(self, name: str, value: int) -> None:
        """Note a counter's new value."""
        self._counters[name] = value

    def clear(self) -> None:
        """Note that entities, tasks and tombstones are forgotten; counters stay.

        An id that was handed out is not handed out again, also after this.
        """
        self._entities.clear()
        self._tasks.clear()
        self._cleared = True

    def flush(self) -> None:
        """Write what was noted, in one transaction; to be called before an answer.

        Raises:
            StorageError: it cannot be written, for example to a full disk. It stays
                noted, so the next call tries again, and fails too while it cannot.
        """
        if not (self._entities or self._tasks or self._counters or self._cleared):
            return
        now = time.time()
        entities = [(*where, entity) for where, entity in self._entities.items()]
        tasks = [(*where, task, now) for where, task in self._tasks.items()]
        many = self._db.executemany
        with self._transaction():
            if self._cleared:
                self._db.execute("DELETE FROM entities")
                self._db.execute("DELETE FROM tasks")
            many(
                "DELETE FROM entities WHERE database = ? AND key = ?",
                [row[:2] for row in entities if row[2] is None],
            )
            many(
                "INSERT OR REPLACE INTO entities VALUES (?, ?, ?)",
                [row for row in entities if row[2] is not None],
            )
            many("INSERT OR REPLACE INTO tasks VALUES (?, ?, ?, ?)", tasks)
            many(
                "INSERT OR REPLACE INTO counters VALUES (?, ?)", self._counters.items()
            )
        self._entities.clear()
        self._tasks.clear()
        self._counters.clear()
        self._cleared = False

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN")
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            # on some errors, such as a full disk, SQLite has done so itself
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise StorageError(
                    f"{self.path} cannot be written: {error}. Calls fail until the "
                    "file can be written again."
                ) from error
            raise

    def close(self) -> None:
        """Write the rest and close the file."""
        try:
            self.flush()
        except StorageError as error:
            # no answer told of it: each call since then has failed
            logger.error("the last changes were not stored: %s", error)
        self._file.close()
