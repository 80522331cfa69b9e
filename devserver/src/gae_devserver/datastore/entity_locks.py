"""Makes transactions on the same entity group wait for each other.

The SDK's datastore stub is optimistic: of two transactions on an entity group the
second fails at commit, and its task runs again. Firestore in Datastore mode, what
App Engine runs on today, has pessimistic locks: the second waits for the first.
https://cloud.google.com/datastore/docs/concepts/transactions
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

LOCK_DEADLINE = 20.0
"""Seconds that a transaction waits for a lock before it fails.

Source: "Transactions and batched writes" in the Firestore documentation.
"""


class ContentionError(Exception):
    """A lock is not available, because of a deadlock or an expired deadline."""


@dataclass(eq=False)
class Owner:
    """Who holds or waits for locks: a transaction, or one write outside of any."""

    ticket: str
    """The request that made the call."""
    patience: float | None = None
    """Seconds that others wait for this owner before they take the lock from it."""
    groups: set[bytes] = field(default_factory=set)
    waiting_for: bytes | None = None
    released: bool = False


@dataclass(eq=False)
class _Lock:
    holder: Owner
    waiters: deque[tuple[Owner, asyncio.Future[None]]] = field(default_factory=deque)


class EntityGroupLocks:
    """One exclusive lock an entity group, handed on in the order of arrival.

    Also readers take it exclusively: a transaction that reads a counter is about to
    write it, and two that share a read lock could only end with one of them failing.
    """

    def __init__(self, deadline: float = LOCK_DEADLINE) -> None:
        self._deadline = deadline
        self._locks: dict[bytes, _Lock] = {}

    def holder(self, group: bytes) -> Owner | None:
        """Return who holds the lock of an entity group."""
        lock = self._locks.get(group)
        return lock.holder if lock else None

    async def acquire(self, owner: Owner, groups: Iterable[bytes]) -> None:
        """Take the locks of `groups` for `owner`, waiting for each where needed.

        A lock that another transaction of the same request holds is not waited for:
        the request would wait for itself. Then the stub's own check at commit
        decides, as it does on dev_appserver.py.

        Raises:
            ContentionError: a deadlock, or the deadline passed. The owner keeps what
                it has; the caller gives it up with `release`.
        """
        for group in groups:
            if group in owner.groups:
                continue
            lock = self._locks.get(group)
            if lock is None:
                self._locks[group] = _Lock(owner)
                owner.groups.add(group)
            elif lock.holder.ticket != owner.ticket:
                await self._wait(owner, group, lock)

    async def _wait(self, owner: Owner, group: bytes, lock: _Lock | None) -> None:
        try:
            async with asyncio.timeout(self._deadline):
                while lock is not None and not await self._turn(owner, group, lock):
                    lock = self._locks.get(group)
        except TimeoutError:
            raise ContentionError(
                f"another transaction held the entity group for {self._deadline:g} s"
            ) from None
        if lock is None:
            # freed in the moment in which the patience ended
            self._locks[group] = _Lock(owner)
            owner.groups.add(group)

    async def _turn(self, owner: Owner, group: bytes, lock: _Lock) -> bool:
        """Wait for a lock, or take it from one that stands still; tell whether got."""
        holder = lock.holder
        if self._would_deadlock(owner, holder):
            raise ContentionError("these transactions wait for each other")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (owner, turn)
        lock.waiters.append(entry)
        owner.waiting_for = group
        try:
            async with asyncio.timeout(holder.patience):
                await turn
            # even if it has been given up since: the caller finds that out
            return True
        except TimeoutError:
            if owner.released:
                raise ContentionError("the transaction has ended") from None
            if group not in holder.groups or lock.holder is not holder:
                # handed on in this moment, to this one or to another
                return group in owner.groups
            # It may be of the same thread, or of a process that was killed. The check
            # at its commit decides; those that wait must not all run at once.
            holder.groups.discard(group)
            lock.holder = owner
            owner.groups.add(group)
            return True
        finally:
            owner.waiting_for = None
            if entry in lock.waiters:
                lock.waiters.remove(entry)

    def _would_deadlock(self, owner: Owner, holder: Owner) -> bool:
        seen: set[int] = set()
        current: Owner | None = holder
        while current is not None and id(current) not in seen:
            if current is owner:
                return True
            seen.add(id(current))
            waiting_for = current.waiting_for
            current = self.holder(waiting_for) if waiting_for is not None else None
        return False

    def release(self, owner: Owner) -> None:
        """Give up all that `owner` holds and waits for; harmless when repeated."""
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
            # done: cancelled or out of time, and about to leave by itself
            if not turn.done() and not owner.released:
                lock.holder = owner
                owner.groups.add(group)
                turn.set_result(None)
                return
        del self._locks[group]
