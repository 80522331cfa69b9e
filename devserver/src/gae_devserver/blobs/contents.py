"""The contents of blobs, in pieces: a large blob is never in memory as a whole."""

import math
import sqlite3
import weakref
from collections.abc import Iterator
from typing import Protocol

from gae_devserver.storage.storage import StorageError

PIECE = 128 * 2**10
"""Bytes in each piece of a blob except the last.

Each upload that waits for its client may hold as many.
"""

_BLOBS, _PIECES = "blob", "piece of a blob"
_INCOMPLETE = b""


class Records(Protocol):
    """Where contents are kept; see `Storage`."""

    def records(self, kind: str) -> Iterator[tuple[str, bytes]]:
        """Yield name and contents of every record of a kind."""

    def record(self, kind: str, name: str) -> bytes | None:
        """Return the contents of a record, or None."""

    def put_record(self, kind: str, name: str, record: bytes | None) -> None:
        """Keep a record; None: delete it."""

    def flush(self) -> None:
        """Write what was put."""


class TemporaryRecords:
    """Records in a temporary file, which SQLite deletes even after SIGKILL."""

    def __init__(self) -> None:
        # autocommit; without a name, the database is a temporary one
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("CREATE TABLE records (kind, name, record)")
        self._db.execute("CREATE UNIQUE INDEX name ON records (kind, name)")
        weakref.finalize(self, self._db.close)

    def records(self, kind: str) -> Iterator[tuple[str, bytes]]:
        """Yield name and contents of every record of a kind."""
        yield from self._db.execute(
            "SELECT name, record FROM records WHERE kind = ?", (kind,)
        )

    def record(self, kind: str, name: str) -> bytes | None:
        """Return the contents of a record, or None."""
        row = self._db.execute(
            "SELECT record FROM records WHERE kind = ? AND name = ?", (kind, name)
        ).fetchone()
        return None if row is None else row[0]

    def put_record(self, kind: str, name: str, record: bytes | None) -> None:
        """Keep a record; None: delete it.

        Raises:
            StorageError: the disk is full, for example.
        """
        try:
            if record is None:
                self._db.execute(
                    "DELETE FROM records WHERE kind = ? AND name = ?", (kind, name)
                )
            else:
                self._db.execute(
                    "INSERT OR REPLACE INTO records VALUES (?, ?, ?)",
                    (kind, name, record),
                )
        except sqlite3.Error as error:
            raise StorageError(
                f"The temporary file for blobs cannot be written: {error}. Free space "
                "in the folder for temporary files, or set TMPDIR to another folder."
            ) from error

    def flush(self) -> None:
        """Do nothing: `put_record` has written all."""


class Contents:
    """The contents of all blobs, by key."""

    def __init__(self, records: Records) -> None:
        """Use what `records` has, except blobs that are incomplete.

        The server was killed while it received them.
        """
        self._records = records
        for key, size in list(records.records(_BLOBS)):
            if size == _INCOMPLETE:
                self.delete(key)

    def size(self, key: str) -> int | None:
        """Return the number of bytes, or None if there is no such blob."""
        size = self._records.record(_BLOBS, key)
        return None if size is None or size == _INCOMPLETE else int(size)

    def read(self, key: str, start: int, count: int) -> bytes:
        """Return up to `count` bytes from `start` on: those in the first's piece.

        The result is empty at the end, and if there is no such blob.
        """
        number, offset = divmod(start, PIECE)
        piece = self._records.record(_PIECES, f"{key}/{number}") or b""
        return piece[offset : offset + count]

    def put(self, key: str, content: bytes) -> None:
        """Keep a blob."""
        writing = self.write(key)
        writing.write(content)
        writing.close()
        self.complete(key, writing.size)

    def write(self, key: str) -> "Writing":
        """Begin a blob, which does not exist until `complete`."""
        self.delete(key)
        self._records.put_record(_BLOBS, key, _INCOMPLETE)
        return Writing(self._records, key)

    def complete(self, key: str, size: int) -> None:
        """Note that a blob is complete. The next `flush` stores it."""
        self._records.put_record(_BLOBS, key, b"%d" % size)

    def delete(self, key: str) -> None:
        """Delete a blob, if there is one."""
        size = self._records.record(_BLOBS, key)
        if size is None:
            return
        if size == _INCOMPLETE:
            pieces = 0
            while self._records.record(_PIECES, f"{key}/{pieces}") is not None:
                pieces += 1
        else:
            pieces = math.ceil(int(size) / PIECE)
        for number in range(pieces):
            self._records.put_record(_PIECES, f"{key}/{number}", None)
        self._records.put_record(_BLOBS, key, None)

    def flush(self) -> None:
        """Store what has changed.

        Raises:
            StorageError: it cannot be written.
        """
        self._records.flush()


class Writing:
    """A blob that is being received."""

    def __init__(self, records: Records, key: str) -> None:
        self.size = 0
        self._records = records
        self._key = key
        self._rest = bytearray()

    def write(self, data: bytes) -> None:
        """Add bytes to the blob.

        Raises:
            StorageError: they cannot be written.
        """
        self.size += len(data)
        self._rest += data
        while len(self._rest) >= PIECE:
            self._put(bytes(self._rest[:PIECE]), self.size - len(self._rest))
            del self._rest[:PIECE]

    def close(self) -> None:
        """Write the last piece."""
        if self._rest:
            self._put(bytes(self._rest), self.size - len(self._rest))
            self._rest.clear()

    def discard(self) -> None:
        """Delete what was written, even if a reset has already deleted a part of it."""
        for number in range(self.size // PIECE + 1):
            self._records.put_record(_PIECES, f"{self._key}/{number}", None)
        self._records.put_record(_BLOBS, self._key, None)

    def _put(self, piece: bytes, start: int) -> None:
        self._records.put_record(_PIECES, f"{self._key}/{start // PIECE}", piece)
        # or the pieces of a large blob would wait in memory
        self._records.flush()
