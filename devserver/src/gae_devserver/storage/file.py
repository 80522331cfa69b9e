"""Opens the file of a storage, or explains why it cannot be used."""

import contextlib
import fcntl
import os
import sqlite3
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from gae_devserver.storage import seals

FILE_NAME = "devserver.sqlite3"
_FORMAT = "2"
_WITHOUT_SEALS = "1"
"""The format before: its tables have no seals."""

_SCHEMA = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE entities (
    database TEXT NOT NULL,  -- '': the default database
    key BLOB NOT NULL,
    entity BLOB NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (database, key)
) WITHOUT ROWID;
CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL,
    seal INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE tasks (
    queue TEXT NOT NULL,
    name TEXT NOT NULL,
    task BLOB,  -- NULL: the task is gone, its name is a tombstone
    changed REAL NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (queue, name)
) WITHOUT ROWID;
"""

# In statements of their own: files that an earlier version made have no such tables.
_LATER = (
    """
CREATE TABLE IF NOT EXISTS queues (
    name TEXT PRIMARY KEY,
    settings BLOB,  -- NULL: those of queue.yaml
    paused INTEGER NOT NULL,
    seal INTEGER NOT NULL
) WITHOUT ROWID
""",
    """
CREATE TABLE IF NOT EXISTS records (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    record BLOB NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
)
""",
)


Connect = Callable[..., sqlite3.Connection]


class StorageError(Exception):
    """The storage cannot be used; the message names the file and is for the user."""


class StorageFile:
    """An SQLite database in a folder; one server at a time uses both."""

    def __init__(self, folder: Path, project: str, connect: Connect) -> None:
        """Open or make the file; see `Storage`."""
        self._folder = folder
        self._transactions = 0
        self._has_seals = True
        self._connect = connect
        self.path = folder / FILE_NAME
        self._acknowledged = seals.Acknowledged(self._beside("-acknowledged"))
        with contextlib.ExitStack() as opened:
            try:
                self.db = self._open(project, opened)
            except OSError as error:
                raise StorageError(f"{self.path} cannot be opened: {error}") from error
            except sqlite3.OperationalError as error:
                if "locked" in str(error):
                    raise self._in_use() from error
                raise StorageError(f"{self.path} cannot be used: {error}") from error
            except sqlite3.DatabaseError as error:
                raise self.damaged(str(error)) from error
            self._opened = opened.pop_all()

    def _open(self, project: str, opened: contextlib.ExitStack) -> sqlite3.Connection:
        # For this user alone: writing a task makes the app run code.
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError:
            raise StorageError(
                f"{self._folder} is not a folder. Pass a folder to --storage."
            ) from None
        except OSError as error:
            raise StorageError(
                f"The folder {self._folder} cannot be created: {error.strerror}. Pass "
                "another folder to --storage."
            ) from error
        lock = os.open(self._folder, os.O_RDONLY)
        opened.callback(os.close, lock)
        self._keep_others_out(lock)
        is_new = self._is_empty() or self._check(project)
        self._check_acknowledged()
        self.path.touch(mode=0o600)
        opened.callback(self._forget_acknowledged)
        db = self._connect(self.path, isolation_level=None, timeout=0)
        opened.callback(db.close)
        # This excludes SQLite's own tools too.
        db.execute("PRAGMA locking_mode=EXCLUSIVE")
        db.execute("PRAGMA synchronous=OFF")
        if is_new:
            # A kill during the next statement would leave a rollback journal, and a
            # connection that can only read cannot open such a file.
            db.execute("PRAGMA journal_mode=MEMORY")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("BEGIN EXCLUSIVE")
        if is_new:
            for statement in _SCHEMA.split(";\n"):
                db.execute(statement)
            about = [("format", _FORMAT), ("project", project)]
            db.executemany("INSERT INTO about VALUES (?, ?)", about)
        for statement in _LATER:
            db.execute(statement)
        if not is_new and not self._has_seals:
            seals.add_seals(db)
            db.execute("UPDATE about SET value = ? WHERE name = 'format'", [_FORMAT])
        db.execute("COMMIT")
        # `_check` left it behind; with the exclusive lock SQLite does not use it.
        self._beside("-shm").unlink(missing_ok=True)
        return db

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(FILE_NAME + suffix)

    def _keep_others_out(self, lock: int) -> None:
        """Lock the folder until it is closed or the process ends, even by SIGKILL.

        SQLite's own lock comes too late: two servers that start at the same time may
        each find the other's lock, and both give up.
        """
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._in_use() from None
        except OSError:
            # Some network file systems have no such lock; SQLite's remains.
            pass

    def _is_empty(self) -> bool:
        """Return whether the file is missing or empty.

        SQLite deletes a WAL file whose database is missing, so this refuses one.
        """
        if self.path.exists() and self.path.stat().st_size:
            return False
        wal = self._beside("-wal")
        if wal.exists() and wal.stat().st_size:
            raise StorageError(
                f"{self.path} is missing or empty, but {wal} still has changes for it. "
                "Nothing was modified. Restore the missing file. To start with an "
                f"empty storage instead, {self._advice()}."
            )
        return True

    def _check(self, project: str) -> bool:
        """Refuse a file that is not ours; return whether it has no tables yet.

        The last connection to close writes the WAL into the file, even into a damaged
        one. So this uses a connection that can only read.
        """
        uri = f"{self.path.resolve().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=0)) as db:
            found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise self.damaged(found.splitlines()[-1])
            # The server was killed during its first start.
            if not db.execute("PRAGMA schema_version").fetchone()[0]:
                return True
            tables = db.execute("SELECT name FROM sqlite_master WHERE type='table'")
            if not {"about", "entities", "counters", "tasks"} <= {n for (n,) in tables}:
                raise StorageError(
                    f"{self.path} is a database of another program. Pass another "
                    "folder to --storage."
                )
            about = dict(db.execute("SELECT name, value FROM about"))
            self._has_seals = about.get("format") == _FORMAT
            if self._has_seals:
                self._check_rows(db)
        if about.get("format") not in {_FORMAT, _WITHOUT_SEALS}:
            raise StorageError(
                f"{self.path} was written by another version of this server (format "
                f"{about.get('format')}, not {_FORMAT}). To start with an empty "
                f"storage, {self._advice()}."
            )
        if about.get("project") != project:
            raise StorageError(
                f"{self.path} belongs to the project {about.get('project')!r}, not "
                f"{project!r}. Use --project {about.get('project')}, or pass another "
                "folder to --storage."
            )
        return False

    def _check_rows(self, db: sqlite3.Connection) -> None:
        try:
            table = seals.changed_table(db)
        except (sqlite3.Error, UnicodeError) as error:
            raise self.damaged(str(error)) from error
        if table is not None:
            raise self.damaged(f"a row of its table {table} has changed")
        found = db.execute("SELECT value FROM counters WHERE name = ?", [seals.COUNTER])
        self._transactions = (found.fetchone() or (0,))[0]

    def _check_acknowledged(self) -> None:
        """Refuse a file that lacks transactions at its end."""
        path = self._acknowledged.path
        try:
            acknowledged = self._acknowledged.read()
        except (ValueError, struct.error) as error:
            raise StorageError(
                f"{path} is damaged: {error}. Nothing was modified. To start with what "
                f"{self.path} has, delete {path.name}."
            ) from None
        if self._transactions < acknowledged:
            lost = acknowledged - self._transactions
            raise self.damaged(
                f"it lacks the last {lost} transactions, which were acknowledged; to "
                f"start with what is left, delete {path.name}"
            )

    def _forget_acknowledged(self) -> None:
        # The last connection to close has written everything into the database.
        if not self._beside("-wal").exists():
            self._acknowledged.remove()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Store all changes of the block, or none."""
        # SQLite goes on with a file that was removed, and all would be lost at the end
        if not self.path.exists():
            raise StorageError(
                f"{self.path} was removed while the server runs, so nothing can be "
                "stored. Restart the server."
            )
        number = self._transactions + 1
        try:
            self.db.execute("BEGIN")
            yield
            self.replace("counters", [(seals.COUNTER, number)])
            self.db.execute("COMMIT")
        except BaseException as error:
            # On some errors, such as a full disk, SQLite itself has rolled back.
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise StorageError(
                    f"{self.path} cannot be written: {error}. Calls fail until the "
                    "file can be written again."
                ) from error
            raise
        self._transactions = number
        # The transaction is stored. Without the number, the next start checks less.
        with contextlib.suppress(OSError):
            self._acknowledged.write(number)

    def replace(self, table: str, rows: Iterable[tuple[seals.Value, ...]]) -> None:
        """Insert rows into a table, or replace those with the same key."""
        marks = "?, " * len(seals.TABLES[table])
        self.execute_many(
            f"INSERT OR REPLACE INTO {table} VALUES ({marks}?)",
            [(*row, seals.seal(*row)) for row in rows],
        )

    def execute_many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        """Execute a statement for each row; most calls change one table only."""
        if rows:
            self.db.executemany(statement, rows)

    def damaged(self, reason: str) -> StorageError:
        """Return the error for a damaged file."""
        return StorageError(
            f"{self.path} is damaged: {reason}. Nothing in it was modified. To start "
            f"with an empty storage, {self._advice()}."
        )

    def _in_use(self) -> StorageError:
        return StorageError(
            f"{self.path} is in use by another server. Stop that server, or pass "
            "another folder to --storage."
        )

    def _advice(self) -> str:
        return f"move the folder {self._folder} away, or pass another one to --storage"

    def close(self) -> None:
        """Close the file and unlock the folder; harmless when repeated."""
        self._opened.close()
