"""Transactions of version 1: what they have read, what they lock, when they expire.

Nothing is written before the commit, and at the commit what was read must be as it
was. So no update is lost, whatever becomes of locks. The locks are those of the
bundled API: they make a second transaction wait instead of failing at its commit.
"""

import asyncio
import itertools
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from gae_devserver.datastore.calls import entity_group
from gae_devserver.datastore.encoding import Path
from gae_devserver.datastore.entity_locks import ContentionError, Owner
from gae_devserver.datastore.indexed_store import Kind, Snapshot, View
from gae_devserver.datastore_v1.databases import Database
from gae_devserver.datastore_v1.errors import (
    AbortedError,
    InvalidArgumentError,
    UnimplementedError,
    check,
)

IDLE_SECONDS = 60.0
TOTAL_SECONDS = 270.0
"""Source: "Transactions" in the documentation of Firestore in Datastore mode."""
PATIENCE = 1.0
"""Seconds that a transaction may keep a lock that others wait for.

Cloud NDB runs two transactions in one thread and stops the thread at each call: the
one that has the lock cannot go on while the other waits for it. Nor can one whose
process was killed.
"""
_LONGEST_WAIT = 2 * PATIENCE
"""Seconds to wait for a lock, and for those that wait already, before going on."""

_CLOSED = "The referenced transaction has expired or is no longer valid."


@dataclass(eq=False)
class Transaction:
    """An open transaction."""

    database: Database
    number: int
    started: float
    used: float
    snapshot: Snapshot | None
    """Of a read-only transaction: all that it can see."""
    owner: Owner
    open: bool = True
    timer: asyncio.TimerHandle | None = None
    """Looks after it when it may have expired."""
    _groups: dict[bytes, tuple[Any, int]] = field(default_factory=dict)
    _kinds: dict[Kind, int] = field(default_factory=dict)
    _all_changes: int | None = None

    @property
    def id(self) -> bytes:
        """What the client calls it."""
        return str(self.number).encode()

    @property
    def view(self) -> View:
        """The entities that it reads."""
        return self.snapshot or self.database.store

    async def read_keys(self, keys: Iterable[tuple[str, Path]]) -> None:
        """Lock the entity groups of keys, and remember that they were read."""
        if self.snapshot is not None:
            return
        partition = self.database.partition
        references = [partition.reference(*key) for key in keys]
        await self.lock(references)
        for reference in references:
            group = entity_group(reference)
            if group is not None and group not in self._groups:
                changes = self.database.store.group_changes(reference)
                self._groups[group] = (reference, changes)
        self.check_unchanged()

    def read_kind(self, kind: Kind) -> None:
        """Remember that a query has read all entities of a kind."""
        store = self.database.store
        if not kind[1] or kind[1].startswith("__"):
            self._all_changes = store.changes
        else:
            self._kinds.setdefault(kind, store.kind(kind).changes)
        self.check_unchanged()

    async def lock(self, references: Iterable[Any]) -> None:
        """Wait for the locks of keys' entity groups, but not for long."""
        await wait_for_locks(self.database, self.owner, groups_of(references))
        self.check_open()

    def check_open(self) -> None:
        """Refuse to go on if the transaction has ended in the meantime."""
        check(self.open, _CLOSED)

    def check_unchanged(self) -> None:
        """Refuse to go on if what was read is not so any more.

        Raises:
            AbortedError: another one has committed.
        """
        store = self.database.store
        if (
            any(
                store.group_changes(reference) != changes
                for reference, changes in self._groups.values()
            )
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
    """Take locks for `owner`, or go on without those that are not to be had soon."""
    locks = database.locks
    # in sorted order two writers of the same groups never wait in a circle
    wanted = sorted(groups)
    if all(locks.holder(group) in (None, owner) for group in wanted):
        await locks.acquire(owner, wanted)
        return
    try:
        async with asyncio.timeout(_LONGEST_WAIT):
            await locks.acquire(owner, wanted)
    except (TimeoutError, ContentionError):
        pass  # what was read is checked at the commit


class Transactions:
    """All open transactions."""

    def __init__(
        self, idle_seconds: float = IDLE_SECONDS, total_seconds: float = TOTAL_SECONDS
    ) -> None:
        self._idle_seconds = idle_seconds
        self._total_seconds = total_seconds
        self._open: dict[int, Transaction] = {}
        # numbers of an earlier server must not be taken for this one's
        self._first = secrets.randbelow(2**48) + 1
        self._numbers = itertools.count(self._first)
        self._last = self._first - 1

    def begin(self, database: Database, options: Any) -> Transaction:
        """Begin a transaction with a request's TransactionOptions."""
        read_only = options.HasField("read_only")
        if read_only:
            check_read_time(database, options.read_only)
        elif previous := options.read_write.previous_transaction:
            self.roll_back(database, previous)
        number = self._last = next(self._numbers)
        now = asyncio.get_running_loop().time()
        transaction = Transaction(
            database,
            number,
            started=now,
            used=now,
            snapshot=database.store.snapshot() if read_only else None,
            owner=Owner(f"v1:{number}", patience=PATIENCE),
        )
        self._open[number] = transaction
        self._expire_in(transaction, self._idle_seconds)
        return transaction

    def get(self, database: Database, identifier: bytes) -> Transaction:
        """Return an open transaction, which is in use now.

        Raises:
            InvalidArgumentError: it has ended, or there never was one.
        """
        transaction = self._open.get(self._number(identifier))
        if transaction is None or transaction.database is not database:
            raise InvalidArgumentError(_CLOSED)
        transaction.used = asyncio.get_running_loop().time()
        return transaction

    def roll_back(self, database: Database, identifier: bytes) -> None:
        """End a transaction; one that has ended already is no error.

        Raises:
            InvalidArgumentError: there never was such a transaction.
        """
        number = self._number(identifier)
        transaction = self._open.get(number)
        if transaction is not None and transaction.database is database:
            self.end(transaction)

    def forget(self, identifier: bytes) -> None:
        """End a transaction, if it has not ended, whose client does not know of it."""
        if transaction := self._open.get(int(identifier)):
            self.end(transaction)

    def end(self, transaction: Transaction) -> None:
        """Forget a transaction and free its locks."""
        transaction.open = False
        if transaction.timer is not None:
            # it would keep the snapshot, which every write has to look at
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
        check(self._first <= number <= self._last, "Invalid transaction.")
        return number

    def _expire_in(self, transaction: Transaction, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        transaction.timer = loop.call_later(seconds, self._expire, transaction)

    def _expire(self, transaction: Transaction) -> None:
        end = min(
            transaction.used + self._idle_seconds,
            transaction.started + self._total_seconds,
        )
        left = end - asyncio.get_running_loop().time()
        if left > 0:
            self._expire_in(transaction, left)
        else:
            self.end(transaction)


def check_read_time(database: Database, options: Any) -> None:
    """Refuse to read as of a time, unless nothing has changed since then.

    Raises:
        InvalidArgumentError: that time has not come.
        UnimplementedError: older states of entities are not kept.
    """
    if not options.HasField("read_time"):
        return
    read_time = options.read_time.seconds * 1000 + options.read_time.nanos // 10**6
    last_change = database.store._GetReadTimestamp()
    # many changes in one millisecond are counted on ahead of the clock
    check(
        read_time <= max(time.time() * 1000, last_change),
        "The requested 'read_time' cannot be in the future.",
    )
    if read_time < last_change:
        raise UnimplementedError(
            "the dev server does not implement read_time before the last change"
        )
