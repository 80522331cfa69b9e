"""Locks of entity groups: transactions on the same group wait for each other.

The SDK's datastore stub is optimistic: of two transactions on an entity group the
second fails at commit, and its task runs again. Firestore in Datastore mode, which
App Engine uses today, has pessimistic locks: the second waits for the first.
https://cloud.google.com/datastore/docs/concepts/transactions
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

LOCK_DEADLINE = 20.0
"""Seconds that a transaction waits for a lock before it fails.

Source: "Transactions and batched writes" in the Firestore documentation.
"""


class ContentionError(Exception):
    """A lock is not available, because of a deadlock or an expired deadline."""


class ClearedError(Exception):
    """What a call wanted to lock was deleted by a reset of the server."""


@dataclass(eq=False)
class Owner:
    """A holder of locks: a transaction, or a single write outside transactions."""

    ticket: str
    """The request that made the call."""
    patience: float | None = None
    """Seconds after which a waiter takes the lock from this owner; None: never."""
    entities: set[Any] = field(default_factory=set)
    """Those for which a transaction of version 1 has its locks; empty: the groups."""
    groups: set[bytes] = field(default_factory=set)
    waiting_for: bytes | None = None
    kept_waiting: bool = False
    """Whether another owner has waited for one of its locks."""
    released: bool = False


@dataclass(eq=False)
class _Lock:
    holder: Owner
    waiters: deque[tuple[Owner, asyncio.Future[None]]] = field(default_factory=deque)


class EntityGroupLocks:
    """One exclusive lock per entity group; waiters get it in the order of arrival.

    A lock for reading is exclusive too: a transaction that reads a counter
    usually writes it next, and of two that shared a read lock one would fail.
    """

    def __init__(self, deadline: float = LOCK_DEADLINE) -> None:
        self._deadline = deadline
        self._locks: dict[bytes, _Lock] = {}
        self._clears = 0

    def clear(self) -> None:
        """Make all that wait fail: they belong to the time before a reset."""
        self._clears += 1
        for lock in self._locks.values():
            for _, turn in lock.waiters:
                if not turn.done():
                    turn.set_exception(ClearedError("the server was reset"))

    def holder(self, group: bytes) -> Owner | None:
        """Return the owner of the lock of an entity group."""
        lock = self._locks.get(group)
        return lock.holder if lock else None

    @property
    def in_use(self) -> bool:
        """Whether any lock is held."""
        return bool(self._locks)

    @property
    def held_groups(self) -> list[bytes]:
        """The entity groups whose locks are held."""
        return list(self._locks)

    async def acquire(
        self, owner: Owner, groups: Iterable[bytes], most: float | None = None
    ) -> None:
        """Take the locks of `groups` for `owner`, waiting for each where needed.

        `most` shortens the patience of holders that have one.

        It skips a lock that another transaction of the same request holds: the request
        would wait for itself. The stub's own check at commit decides instead, as on
        dev_appserver.py.

        Raises:
            ContentionError: a deadlock, or the deadline passed. The owner keeps its
                locks until the caller calls `release`.
            ClearedError: `clear` was called meanwhile.
        """
        clears = self._clears
        for group in groups:
            if group in owner.groups:
                continue
            lock = self._locks.get(group)
            if lock is None:
                self._locks[group] = _Lock(owner)
                owner.groups.add(group)
            elif lock.holder.ticket != owner.ticket:
                await self._wait(owner, group, lock, most)
                if clears != self._clears:
                    raise ClearedError("the server was reset")
                if owner.released:
                    # After its turn came: what it took now would stay locked.
                    self.release(owner)
                    raise ContentionError("the transaction has ended")

    async def _wait(
        self, owner: Owner, group: bytes, lock: _Lock | None, most: float | None
    ) -> None:
        try:
            async with asyncio.timeout(self._deadline):
                while lock and not await self._turn(owner, group, lock, most):
                    lock = self._locks.get(group)
        except TimeoutError:
            raise ContentionError(
                f"another transaction held the entity group for {self._deadline:g} s"
            ) from None
        if lock is None:
            # It was released just when the holder's patience ended.
            self._locks[group] = _Lock(owner)
            owner.groups.add(group)

    async def _turn(
        self, owner: Owner, group: bytes, lock: _Lock, most: float | None
    ) -> bool:
        """Wait for a lock, or take it from an idle holder.

        Return whether the owner now has the lock.
        """
        holder = lock.holder
        if self._would_deadlock(owner, holder):
            raise ContentionError("these transactions wait for each other")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (owner, turn)
        lock.waiters.append(entry)
        owner.waiting_for = group
        holder.kept_waiting = True
        patience = holder.patience
        if patience is not None and most is not None:
            patience = min(patience, most)
        try:
            async with asyncio.timeout(patience):
                await turn
            return True
        except TimeoutError:
            if owner.released:
                raise ContentionError("the transaction has ended") from None
            if group not in holder.groups or lock.holder is not holder:
                # The lock was just handed on, to this owner or to another.
                return group in owner.groups
            # The holder may belong to this very thread, or to a process that was
            # killed. The check at its commit decides. Only one waiter gets the lock.
            holder.groups.discard(group)
            lock.holder = owner
            owner.groups.add(group)
            return True
        finally:
            owner.waiting_for = None
            if entry in lock.waiters:
                lock.waiters.remove(entry)

    def _would_deadlock(self, owner: Owner, holder: Owner) -> bool:
        seen: set[Owner] = set()
        current: Owner | None = holder
        while current is not None and current not in seen:
            if current is owner:
                return True
            seen.add(current)
            waiting_for = current.waiting_for
            current = self.holder(waiting_for) if waiting_for is not None else None
        return False

    def release(self, owner: Owner) -> None:
        """Release all that `owner` holds or waits for; harmless when repeated."""
        owner.released = True
        if lock := self._locks.get(owner.waiting_for or b""):
            for waiter, turn in list(lock.waiters):
                if waiter is owner and not turn.done():
                    turn.set_exception(ContentionError("the transaction has ended"))
        while owner.groups:
            self._hand_on(owner.groups.pop())

    def _hand_on(self, group: bytes) -> None:
        lock = self._locks[group]
        while lock.waiters:
            owner, turn = lock.waiters.popleft()
            # A wait that was cancelled or has timed out removes itself.
            if not turn.done() and not owner.released:
                lock.holder = owner
                owner.groups.add(group)
                turn.set_result(None)
                return
        del self._locks[group]
