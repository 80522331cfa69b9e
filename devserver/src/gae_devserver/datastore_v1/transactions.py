"""Transactions of version 1: what they have read, what they lock, when they expire.

Nothing is written before the commit, and a read or the commit fails if anything that
was read has changed. So no update is lost, even without locks. The locks, which the
bundled API shares, only make transactions wait that would fail otherwise.
"""

import asyncio
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gae_devserver.datastore.entity_locks import Owner
from gae_devserver.datastore.index_scan import Hit
from gae_devserver.datastore.views import Snapshot, View
from gae_devserver.datastore_v1.databases import Database
from gae_devserver.datastore_v1.keys import Address
from gae_devserver.datastore_v1.lock_waits import wait_to_read, wait_to_write
from gae_devserver.datastore_v1.queries import ParsedQuery
from gae_devserver.datastore_v1.read_time import as_of
from gae_devserver.datastore_v1.reads import QueryRead, Reads
from gae_devserver.rpc.errors import (
    AbortedError,
    InvalidArgumentError,
    check,
)

_CLOSED = "The referenced transaction has expired or is no longer valid."


@dataclass(eq=False)
class Transaction:
    """An open transaction."""

    database: Database
    number: int
    started: float
    used: float
    snapshot: Snapshot | None
    """Everything that a read-only transaction can see; None for another one."""
    owner: Owner
    open: bool = True
    timer: asyncio.TimerHandle | None = None
    """Checks whether the transaction has expired."""
    written: set[Address] = field(default_factory=set)
    locked: set[Address] = field(default_factory=set)
    """The entities that others wait for, unless it ends or takes too long."""

    def __post_init__(self) -> None:
        """Begin with an empty record of reads."""
        self._reads = Reads(self.database.store)

    @property
    def id(self) -> bytes:
        """The name by which the client knows it."""
        return str(self.number).encode()

    @property
    def view(self) -> View:
        """The entities that it reads."""
        return self.snapshot or self.database.store

    async def read_keys(self, addresses: list[Address]) -> None:
        """Wait for those that may write entities next; record that they were read."""
        if self.snapshot is not None:
            return
        await self._wait_in_line(addresses)
        self.check_unchanged()
        self._reads.add_keys(addresses)

    async def before_query(self, query: ParsedQuery) -> None:
        """Wait for contended results; `read_query` records later what was read."""
        if self.snapshot is not None:
            return
        results = []
        for address in self.database.contention:
            row = self.database.store.row(*address)
            if row is not None and QueryRead(query, end=None).finds(address[0], row):
                results.append(address)
        if query.ancestor is not None:
            results.append((query.namespace, query.ancestor))
        await self._wait_in_line(results)
        self.check_unchanged()

    def read_query(
        self, query: ParsedQuery, last: Hit | None, *, stopped: bool
    ) -> None:
        """Record which results of a query were read.

        Args:
            query: the query.
            last: the last result that was read or skipped.
            stopped: whether reading has stopped there, with more results to come.
        """
        if self.snapshot is None:
            self._reads.add_query(query, last, stopped)

    async def before_writing(self, references: Mapping[Address, Any]) -> None:
        """Wait for those that have locks of entities, and check all reads.

        Raises:
            AbortedError: another request has changed what was read.
        """
        self.check_unchanged()
        contended = any(address in self.database.contention for address in references)
        most = None if contended else self.database.limits.glance
        await wait_to_write(self.database, self.owner, references, most)
        # It may have ended in the meantime.
        check(self.open, _CLOSED)
        self.check_unchanged()

    async def _wait_in_line(self, addresses: Iterable[Address]) -> None:
        self.locked |= await wait_to_read(self.database, self.owner, addresses)
        # It may have ended in the meantime.
        check(self.open, _CLOSED)

    def check_unchanged(self) -> None:
        """Refuse to continue after anything that was read has changed.

        Raises:
            AbortedError: another request has changed it.
        """
        conflicts = self._reads.conflicts()
        for address in conflicts:
            self.database.contention.conflict(address)
        if conflicts:
            # What it has not written yet tells nothing.
            self.locked.clear()
            raise AbortedError(
                "too much contention on these datastore entities: another"
                " transaction has changed data that this one read. Please try again."
            )

    def settle(self) -> None:
        """Note whether it has written the entities it has locked, or any below them."""
        contention, kept_waiting = self.database.contention, self.owner.kept_waiting
        if not (contention or kept_waiting):
            return
        for namespace, path in self.locked:
            written = any(
                own == namespace and changed[: len(path)] == path
                for own, changed in self.written
            )
            contention.settle(
                (namespace, path), written=written, kept_waiting=kept_waiting
            )


class Transactions:
    """All open transactions."""

    def __init__(self) -> None:
        self._open: dict[int, Transaction] = {}
        # Start at random, so that a number of an earlier server is not valid here.
        self._first = self._next = secrets.randbelow(2**48) + 1

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, database: Database, options: Any) -> Transaction:
        """Begin a transaction with a request's TransactionOptions."""
        snapshot = None
        if options.HasField("read_only"):
            chosen = options.read_only
            if chosen.HasField("read_time"):
                snapshot = as_of(database, chosen.read_time)
            else:
                snapshot = database.store.snapshot()
        elif previous := options.read_write.previous_transaction:
            self.roll_back(database, previous)
        number = self._next
        self._next += 1
        now = asyncio.get_running_loop().time()
        transaction = Transaction(
            database,
            number,
            started=now,
            used=now,
            snapshot=snapshot,
            owner=Owner(f"v1:{number}", patience=database.limits.patience),
        )
        self._open[number] = transaction
        self._end_if_expired(transaction)
        return transaction

    def get(self, database: Database, identifier: bytes) -> Transaction:
        """Return an open transaction, and record that it is in use.

        Raises:
            InvalidArgumentError: the transaction has ended or never existed.
        """
        transaction = self._open.get(self._number(identifier))
        if transaction is None or transaction.database is not database:
            raise InvalidArgumentError(_CLOSED)
        transaction.used = asyncio.get_running_loop().time()
        return transaction

    def roll_back(self, database: Database, identifier: bytes) -> None:
        """End a transaction; do nothing if it has ended already.

        Raises:
            InvalidArgumentError: the transaction never existed.
        """
        transaction = self._open.get(self._number(identifier))
        if transaction is not None and transaction.database is database:
            self.end(transaction)

    def forget(self, identifier: bytes) -> None:
        """End a transaction whose id its client never received, unless it has ended."""
        if transaction := self._open.get(int(identifier)):
            self.end(transaction)

    def end(self, transaction: Transaction) -> None:
        """Drop a transaction and release its locks."""
        if transaction.open:
            transaction.settle()
        transaction.open = False
        if transaction.timer is not None:
            # The timer would keep the snapshot, which keeps what later writes replace.
            transaction.timer.cancel()
        self._open.pop(transaction.number, None)
        transaction.database.locks.release(transaction.owner)

    def clear(self) -> None:
        """End all transactions."""
        for transaction in list(self._open.values()):
            self.end(transaction)

    def _number(self, identifier: bytes) -> int:
        check(identifier, "transaction required")
        number = int(identifier) if identifier.isdigit() else 0
        check(self._first <= number < self._next, "Invalid transaction.")
        return number

    def _end_if_expired(self, transaction: Transaction) -> None:
        """End a transaction if it has expired; otherwise check again later."""
        limits = transaction.database.limits
        end = min(
            transaction.used + limits.idle_seconds,
            transaction.started + limits.total_seconds,
        )
        loop = asyncio.get_running_loop()
        if end > loop.time():
            transaction.timer = loop.call_at(end, self._end_if_expired, transaction)
        else:
            self.end(transaction)
