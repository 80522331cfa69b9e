"""Keeps entities and tasks in an SQLite file, for --storage.

The stubs keep working in memory. What a call changes is noted here as it happens, and
written in one SQLite transaction before the call is answered. So what was acknowledged
survives SIGKILL of the server at any moment, and nothing is ever half there. The
promise is SIGKILL, not power loss: the file is left to the system's cache.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FILE_NAME = "devserver.sqlite3"
_FORMAT = "1"

TOMBSTONE_SECONDS = 9 * 86400.0
"""How long the name of a finished task stays taken.

Source: "Task names" in App Engine's documentation of push queues: about nine days.
"""

_SCHEMA = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE entities (
    database TEXT NOT NULL,  -- '': the one of the bundled API
    key BLOB NOT NULL,
    entity BLOB NOT NULL,
    PRIMARY KEY (database, key)
) WITHOUT ROWID;
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE tasks (
    queue TEXT NOT NULL,
    name TEXT NOT NULL,
    task BLOB,  -- NULL: the task is gone, its name is a tombstone
    changed REAL NOT NULL,
    PRIMARY KEY (queue, name)
) WITHOUT ROWID;
"""


class StorageError(Exception):
    """The storage cannot be used; the message is for the user and names the file."""


class Storage:
    """The file behind a datastore and a task queue."""

    def __init__(self, folder: Path, project: str) -> None:
        """Open or make the file in `folder`.

        Raises:
            StorageError: it belongs to another project, is in use, is damaged, or is
                no such file at all. Nothing was changed.
        """
        self.path = folder / FILE_NAME
        self._entities: dict[tuple[str, bytes], bytes | None] = {}
        self._tasks: dict[tuple[str, str], bytes | None] = {}
        self._counters: dict[str, int] = {}
        if folder.exists() and not folder.is_dir():
            raise StorageError(
                f"{folder} is a file, not a folder. Give a folder to --storage."
            )
        try:
            # for this user alone: tasks are in it, and who can write tasks can run code
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.touch(mode=0o600)
            self._db = sqlite3.connect(self.path, isolation_level=None, timeout=0)
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"{self.path} cannot be opened: {error}") from error
        try:
            self._open(project)
        except BaseException:
            self._db.close()
            raise

    def _open(self, project: str) -> None:
        try:
            # held until the end: a second server on this file fails here
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            is_new = not self._db.execute("PRAGMA schema_version").fetchone()[0]
            if not is_new:
                self._check(project)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=OFF")
            self._db.execute("BEGIN EXCLUSIVE")
            if is_new:
                for statement in _SCHEMA.split(";\n"):
                    self._db.execute(statement)
                about = [("format", _FORMAT), ("project", project)]
                self._db.executemany("INSERT INTO about VALUES (?, ?)", about)
            oldest = time.time() - TOMBSTONE_SECONDS
            self._db.execute(
                "DELETE FROM tasks WHERE task IS NULL AND changed < ?", (oldest,)
            )
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise StorageError(
                    f"{self.path} is in use by another server. Stop that server, or "
                    "give another folder to --storage."
                ) from error
            raise StorageError(f"{self.path} cannot be used: {error}") from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from error

    def _check(self, project: str) -> None:
        """Refuse a file that is not ours, before anything is written to it."""
        found = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise self._damaged(found)
        tables = self._db.execute("SELECT name FROM sqlite_master WHERE type='table'")
        if not {"about", "entities", "counters", "tasks"} <= {n for (n,) in tables}:
            raise StorageError(
                f"{self.path} is the database of something else. Give another folder "
                "to --storage."
            )
        about = dict(self._db.execute("SELECT name, value FROM about"))
        if about.get("format") != _FORMAT:
            raise StorageError(
                f"{self.path} was written by another version of this server (format "
                f"{about.get('format')}, not {_FORMAT}). Give another folder to "
                "--storage, or delete the file."
            )
        if about.get("project") != project:
            raise StorageError(
                f"{self.path} holds the project {about.get('project')!r}, not "
                f"{project!r}. Say --project {about.get('project')}, or give another "
                "folder to --storage."
            )

    def _damaged(self, reason: str) -> StorageError:
        return StorageError(
            f"{self.path} is damaged: {reason}. Move it away to begin anew; nothing "
            "in it was changed."
        )

    # what was stored when the server ended

    def entities(self, database: str) -> Iterator[bytes]:
        """Yield every entity of a database, as `put_entity` got it."""
        rows = self._db.execute(
            "SELECT entity FROM entities WHERE database = ?", (database,)
        )
        for (entity,) in rows:
            yield entity

    def tasks(self) -> Iterator[tuple[str, str, bytes | None]]:
        """Yield queue, name and task; None in place of a task is a tombstone."""
        yield from self._db.execute("SELECT queue, name, task FROM tasks")

    def counter(self, name: str) -> int | None:
        """Return a counter's value, or None."""
        if name in self._counters:
            return self._counters[name]
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
        """Forget entities, tasks and tombstones, at once; counters stay.

        An id that was handed out is not handed out again, also after this.
        """
        self._entities.clear()
        self._tasks.clear()
        with self._transaction():
            self._db.execute("DELETE FROM entities")
            self._db.execute("DELETE FROM tasks")

    def flush(self) -> None:
        """Write what was noted, in one transaction; to be called before an answer."""
        if not (self._entities or self._tasks or self._counters):
            return
        now = time.time()
        entities = [(*where, entity) for where, entity in self._entities.items()]
        tasks = [(*where, task, now) for where, task in self._tasks.items()]
        many = self._db.executemany
        with self._transaction():
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

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            # on some errors, such as a full disk, SQLite has done so itself
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Write the rest and close the file."""
        self.flush()
        self._db.close()
