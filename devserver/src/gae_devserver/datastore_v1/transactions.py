"""Transactions of version 1: what they have read, what they lock, when they expire.

Nothing is written before the commit, and the commit fails if anything that was read has
changed. So no update is lost, even without locks. The locks, which the bundled API
shares, only make a second transaction wait instead of failing at its commit.
"""

import asyncio
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from gae_devserver.datastore.calls import entity_group
from gae_devserver.datastore.entity_locks import ClearedError, ContentionError, Owner
from gae_devserver.datastore.indexed_store import GroupRead
from gae_devserver.datastore.views import Kind, Snapshot, View
from gae_devserver.datastore_v1.databases import Database
from gae_devserver.datastore_v1.keys import Address
from gae_devserver.datastore_v1.read_time import as_of
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
    _groups: dict[bytes, GroupRead] = field(default_factory=dict)
    _kinds: dict[Kind, int] = field(default_factory=dict)
    _all_changes: int | None = None

    @property
    def id(self) -> bytes:
        """The name by which the client knows it."""
        return str(self.number).encode()

    @property
    def view(self) -> View:
        """The entities that it reads."""
        return self.snapshot or self.database.store

    async def read_keys(self, keys: Iterable[Address]) -> None:
        """Lock the entity groups of keys, and record that they were read."""
        if self.snapshot is not None:
            return
        partition = self.database.partition
        references = [partition.reference(*key) for key in keys]
        await self.lock(references)
        for reference in references:
            group = entity_group(reference)
            if group is not None and group not in self._groups:
                self._groups[group] = self.database.store.read_group(reference)
        self.check_unchanged()

    def read_kind(self, kind: Kind) -> None:
        """Record that a query has read all entities of a kind."""
        store = self.database.store
        if not kind[1] or kind[1].startswith("__"):
            self._all_changes = store.changes
        else:
            self._kinds.setdefault(kind, store.kind(kind).changes)
        self.check_unchanged()

    async def lock(self, references: Iterable[Any]) -> None:
        """Wait for the locks of keys' entity groups, but not for long."""
        await wait_for_locks(self.database, self.owner, groups_of(references))
        # It may have ended in the meantime.
        check(self.open, _CLOSED)

    def check_unchanged(self) -> None:
        """Refuse to continue after anything that was read has changed.

        Raises:
            AbortedError: another request has changed it.
        """
        store = self.database.store
        if (
            any(not group.is_unchanged() for group in self._groups.values())
            or any(
                store.kind(kind).changes != changes
                for kind, changes in self._kinds.items()
            )
            or self._all_changes not in (None, store.changes)
        ):
            raise AbortedError(
                "too much contention on these datastore entities: another"
                " transaction has changed data that this one read. Please try again."
            )


def groups_of(references: Iterable[Any]) -> set[bytes]:
    """Return the names of the locks of keys' entity groups."""
    return set(filter(None, map(entity_group, references)))


async def wait_for_locks(
    database: Database, owner: Owner, groups: Iterable[bytes]
) -> None:
    """Take locks for `owner`, or continue without those that take too long."""
    locks = database.locks
    # In sorted order, two writers of the same groups never wait for each other.
    wanted = sorted(groups)
    if all(locks.holder(group) in (None, owner) for group in wanted):
        await locks.acquire(owner, wanted)
        return
    try:
        # Wait twice the patience: earlier waiters need time too.
        async with asyncio.timeout(2 * database.limits.patience):
            await locks.acquire(owner, wanted)
    except ClearedError as error:
        raise InvalidArgumentError(f"{error}.") from None
    except (TimeoutError, ContentionError):
        pass  # the commit checks whether anything that was read has changed


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
        transaction.open = False
        if transaction.timer is not None:
            # The timer would keep the snapshot, which slows down every write.
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
