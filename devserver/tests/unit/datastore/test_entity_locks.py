"""Locks of entity groups: which owners wait for which."""

import asyncio
from collections.abc import Iterator

import pytest

from gae_devserver.datastore.entity_locks import (
    ContentionError,
    EntityGroupLocks,
    Owner,
)
from tests.helpers.waiting import settled

pytestmark = pytest.mark.asyncio

A, B, C = b"a", b"b", b"c"


@pytest.fixture
def locks() -> Iterator[EntityGroupLocks]:
    """Locks, of which each test releases all: the table must not grow."""
    locks = EntityGroupLocks(deadline=60)
    yield locks
    assert locks.held_groups == []


async def acquiring(
    locks: EntityGroupLocks, owner: Owner, *groups: bytes
) -> "asyncio.Task[None]":
    """Begin to take locks, and return when that is done or waits."""
    task = asyncio.create_task(locks.acquire(owner, groups))
    await settled()
    return task


async def test_waiters_get_the_lock_in_the_order_of_their_arrival(
    locks: EntityGroupLocks,
) -> None:
    """First come, first served; a queue for one holder is no deadlock."""
    holder, *waiters = owners = [Owner(str(number)) for number in range(5)]
    await locks.acquire(holder, [A])
    waits = [await acquiring(locks, waiter, A) for waiter in waiters]
    for place, owner in enumerate(owners):
        assert locks.holder(A) is owner
        assert [wait.done() for wait in waits] == [n < place for n in range(4)]
        locks.release(owner)
        await settled()


async def test_a_deadlock_is_found_at_once(locks: EntityGroupLocks) -> None:
    """The last owner that closes a circle fails without waiting."""
    one, two, three = Owner("one"), Owner("two"), Owner("three")
    for owner, group in ((one, A), (two, B), (three, C)):
        await locks.acquire(owner, [group])
    first = await acquiring(locks, one, B)
    second = await acquiring(locks, two, C)
    with pytest.raises(ContentionError):
        await locks.acquire(three, [A])
    locks.release(three)
    await second
    locks.release(two)
    await first
    locks.release(one)


async def test_an_owner_that_fails_keeps_its_locks_until_it_is_released() -> None:
    """After the deadline the waiter leaves the queue; all holders stay the same."""
    locks, one, two = EntityGroupLocks(deadline=0.02), Owner("one"), Owner("two")
    await locks.acquire(one, [B])
    with pytest.raises(ContentionError):
        await locks.acquire(two, [A, B])
    assert (locks.holder(A), locks.holder(B)) == (two, one)
    locks.release(one)
    assert locks.held_groups == [A]
    locks.release(two)
    assert locks.held_groups == []


@pytest.mark.parametrize("how", ["release", "cancel"])
async def test_a_waiter_that_gave_up_does_not_get_the_lock(
    locks: EntityGroupLocks, how: str
) -> None:
    """A waiter that gave up is skipped: the lock goes to the next one at once."""
    one, two, three = Owner("one"), Owner("two"), Owner("three")
    await locks.acquire(one, [A])
    second = await acquiring(locks, two, B, A)
    third = await acquiring(locks, three, A)
    if how == "release":
        locks.release(two)
    else:
        second.cancel()
    locks.release(one)
    await third
    assert locks.holder(A) is three
    with pytest.raises(ContentionError if how == "release" else asyncio.CancelledError):
        await second
    locks.release(two)
    locks.release(three)


async def test_a_lock_that_came_as_its_waiter_was_cancelled_is_not_lost(
    locks: EntityGroupLocks,
) -> None:
    """The release of the cancelled owner hands the lock on to the next one."""
    one, two, three = Owner("one"), Owner("two"), Owner("three")
    await locks.acquire(one, [A])
    second = await acquiring(locks, two, A)
    third = await acquiring(locks, three, A)
    locks.release(one)
    second.cancel()
    await settled()
    locks.release(two)
    await third
    assert locks.holder(A) is three
    # A rollback by the client and the end of its request both release.
    locks.release(one)
    assert locks.holder(A) is three
    locks.release(three)


async def test_an_owner_that_ended_as_its_turn_came_takes_no_more(
    locks: EntityGroupLocks,
) -> None:
    """A transaction may expire just then; nothing releases its locks later."""
    one, two = Owner("one"), Owner("two")
    await locks.acquire(one, [A])
    second = await acquiring(locks, two, A, B)
    locks.release(one)
    locks.release(two)
    with pytest.raises(ContentionError):
        await second
    assert locks.held_groups == []


async def test_an_idle_holder_loses_its_lock(locks: EntityGroupLocks) -> None:
    """When its patience ends, the first waiter gets the lock, and only that one."""
    idle, first, second = Owner("idle", patience=0.0), Owner("first"), Owner("second")
    await locks.acquire(idle, [A])
    waits = [asyncio.create_task(locks.acquire(one, [A])) for one in (first, second)]
    await waits[0]
    await settled()
    assert locks.holder(A) is first
    assert not waits[1].done()
    locks.release(idle)
    assert locks.holder(A) is first
    locks.release(first)
    await waits[1]
    assert locks.holder(A) is second
    locks.release(second)


@pytest.mark.parametrize("released", ["holder", "waiter"])
@pytest.mark.parametrize("turns", range(5))
async def test_a_release_while_the_patience_ends(
    locks: EntityGroupLocks, turns: int, released: str
) -> None:
    """In whatever turn of the loop it comes, no lock is lost or left."""
    idle, waiter = Owner("idle", patience=0.0), Owner("waiter")
    await locks.acquire(idle, [A])
    wait = asyncio.create_task(locks.acquire(waiter, [A]))
    for _ in range(turns):
        await asyncio.sleep(0)
    locks.release(idle if released == "holder" else waiter)
    (outcome,) = await asyncio.gather(wait, return_exceptions=True)
    if released == "holder":
        assert outcome is None
        assert locks.holder(A) is waiter
    locks.release(idle)
    locks.release(waiter)
