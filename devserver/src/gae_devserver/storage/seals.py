"""Detects what SQLite does not: rows that have changed, and transactions that are gone.

If a bit of the WAL has changed, SQLite silently ignores everything after it. So the
number of the last transaction is in the database, which may lose it, and in a file
beside it, which says what the database must have.
"""

import os
import sqlite3
import struct
import zlib
from pathlib import Path

TABLES = {
    "entities": ("database", "key", "entity"),
    "counters": ("name", "value"),
    "tasks": ("queue", "name", "task", "changed"),
    "queues": ("name", "settings", "paused"),
    "records": ("kind", "name", "record"),
}
"""Their columns. Each has one more, with the seal of its row."""

_BLOBS = frozenset({"key", "entity", "task", "settings", "record"})
"""The columns with bytes; the other ones have text or numbers."""

COUNTER = "transactions"
"""The counter with the number of transactions."""

Value = bytes | str | float | None


def seal(*values: Value) -> int:
    """Return a checksum of the values of a row, as SQLite returns them."""
    data = [one if isinstance(one, bytes) else str(one).encode() for one in values]
    return zlib.crc32(b"\n".join(data))


def changed_table(db: sqlite3.Connection) -> str | None:
    """Return a table with a row that the server has not written, or None."""
    for table, columns in TABLES.items():
        are_blobs = [name in _BLOBS for name in columns]
        known: set[tuple[type, ...]] = set()
        for *values, sealed in db.execute(f"SELECT * FROM {table}"):
            if seal(*values) != sealed:
                return table
            # a seal is the same for bytes and text, between which a bit can decide
            if (types := tuple(map(type, values))) not in known:
                for is_blob, value in zip(are_blobs, values, strict=True):
                    if isinstance(value, str if is_blob else bytes):
                        return table
                known.add(types)
    return None


def add_seals(db: sqlite3.Connection) -> None:
    """Add the column to tables of an earlier version, which have none."""
    db.create_function("seal", -1, seal)
    for table, columns in TABLES.items():
        found = [name for _, name, *_ in db.execute(f"PRAGMA table_info({table})")]
        if "seal" not in found:
            db.execute(f"ALTER TABLE {table} ADD COLUMN seal INTEGER")
            db.execute(f"UPDATE {table} SET seal = seal({', '.join(columns)})")


class Acknowledged:
    """The file with the number of the last transaction that was acknowledged.

    Like SQLite's WAL, it exists only while a server runs, or after a kill.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def read(self) -> int:
        """Return the number; 0 if there is no file.

        Raises:
            ValueError: the file is damaged.
        """
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return 0
        # A new file is empty for a moment, in which the server may be killed.
        if not data:
            return 0
        number, checksum = struct.unpack(">QI", data)
        if zlib.crc32(data[:8]) != checksum:
            raise ValueError("its checksum is wrong")
        return int(number)

    def write(self, number: int) -> None:
        """Write the number after its transaction has ended, before it is acknowledged.

        A kill leaves the number before it or this one: it is one write into one page.
        """
        if self._file is None:
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600)
        data = struct.pack(">Q", number)
        os.pwrite(self._file, data + struct.pack(">I", zlib.crc32(data)), 0)

    def remove(self) -> None:
        """Delete the file: the database was closed with everything in it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self.path.unlink(missing_ok=True)
