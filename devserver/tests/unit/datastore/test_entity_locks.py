"""Locks of entity groups: who waits for whom, and who does not."""

import asyncio

import pytest

from gae_devserver.datastore.entity_locks import (
    ContentionError,
    EntityGroupLocks,
    Owner,
)
from tests.helpers.waiting import settled

pytestmark = pytest.mark.asyncio

A, B, C = b"a", b"b", b"c"


def is_empty(locks: EntityGroupLocks) -> bool:
    """Whether nothing is left of any lock, so that the table cannot grow for ever."""
    return not locks._locks


async def acquiring(
    locks: EntityGroupLocks, owner: Owner, *groups: bytes
) -> "asyncio.Task[None]":
    """Begin to take locks, and return when that is done or waits."""
    task = asyncio.create_task(locks.acquire(owner, groups))
    await settled()
    return task


async def test_a_free_lock_is_taken_at_once() -> None:
    """Nobody waits for a lock that nobody holds; a release leaves nothing."""
    locks, owner = EntityGroupLocks(), Owner("one")
    async with asyncio.timeout(10):
        await locks.acquire(owner, [A, B])
    assert locks.holder(A) is owner
    assert locks.holder(B) is owner
    assert locks.holder(C) is None
    locks.release(owner)
    assert locks.holder(A) is None
    assert is_empty(locks)


async def test_a_lock_that_is_held_is_not_taken_again() -> None:
    """A transaction that reads and then writes a group asks for its lock twice."""
    locks, owner = EntityGroupLocks(), Owner("one")
    async with asyncio.timeout(10):
        await locks.acquire(owner, [A])
        await locks.acquire(owner, [A, A])
    locks.release(owner)
    assert is_empty(locks)


async def test_waiters_get_the_lock_in_the_order_of_their_arrival() -> None:
    """First come, first served: nobody starves."""
    locks, order = EntityGroupLocks(), []
    first = Owner("first")
    await locks.acquire(first, [A])

    async def wait(number: int) -> None:
        owner = Owner(f"waiter {number}")
        await locks.acquire(owner, [A])
        order.append(number)
        await asyncio.sleep(0)
        locks.release(owner)

    waiters = []
    for number in range(5):
        waiters.append(asyncio.create_task(wait(number)))
        await settled()
    assert order == []
    locks.release(first)
    await asyncio.gather(*waiters)
    assert order == [0, 1, 2, 3, 4]
    assert is_empty(locks)


async def test_a_lock_has_one_holder_at_a_time() -> None:
    """However many want it, what they do under the lock never overlaps."""
    locks, inside, peak, total = EntityGroupLocks(), 0, 0, 0

    async def work(number: int) -> None:
        nonlocal inside, peak, total
        owner = Owner(f"request {number}")
        await locks.acquire(owner, [A])
        inside += 1
        peak = max(peak, inside)
        await asyncio.sleep(0)
        inside -= 1
        total += 1
        locks.release(owner)

    await asyncio.gather(*(work(number) for number in range(50)))
    assert (peak, total) == (1, 50)
    assert is_empty(locks)


async def test_other_entity_groups_are_not_waited_for() -> None:
    """A lock concerns its own group only."""
    locks, one, two = EntityGroupLocks(), Owner("one"), Owner("two")
    await locks.acquire(one, [A])
    async with asyncio.timeout(10):
        await locks.acquire(two, [B])
    assert locks.holder(B) is two


async def test_a_deadlock_of_two_is_found_at_once() -> None:
    """Of two that wait for each other one fails at once, not after the deadline."""
    locks, one, two = EntityGroupLocks(deadline=60), Owner("one"), Owner("two")
    await locks.acquire(one, [A])
    await locks.acquire(two, [B])
    waiting = await acquiring(locks, one, B)
    async with asyncio.timeout(10):
        with pytest.raises(ContentionError, match="wait for each other"):
            await locks.acquire(two, [A])
    locks.release(two)
    await waiting
    assert locks.holder(B) is one
    locks.release(one)
    assert is_empty(locks)


async def test_a_deadlock_of_three_is_found_at_once() -> None:
    """The circle may be longer than two."""
    locks = EntityGroupLocks(deadline=60)
    one, two, three = Owner("one"), Owner("two"), Owner("three")
    for owner, group in ((one, A), (two, B), (three, C)):
        await locks.acquire(owner, [group])
    first = await acquiring(locks, one, B)
    second = await acquiring(locks, two, C)
    async with asyncio.timeout(10):
        with pytest.raises(ContentionError):
            await locks.acquire(three, [A])
    locks.release(three)
    await second
    locks.release(two)
    await first
    locks.release(one)
    assert is_empty(locks)


async def test_a_queue_of_waiters_is_no_deadlock() -> None:
    """Many that wait for one holder, who waits for nobody, are left to wait."""
    locks, one = EntityGroupLocks(), Owner("one")
    await locks.acquire(one, [A])
    others = [Owner(f"other {number}") for number in range(3)]
    tasks = [await acquiring(locks, other, A) for other in others]
    assert not any(task.done() for task in tasks)
    locks.release(one)
    for other, task in zip(others, tasks, strict=True):
        await task
        locks.release(other)
    assert is_empty(locks)


async def test_nobody_waits_longer_than_the_deadline() -> None:
    """After the deadline the waiter fails; it is out of the queue, the lock stays."""
    locks, one, two = EntityGroupLocks(deadline=0.02), Owner("one"), Owner("two")
    await locks.acquire(one, [A])
    async with asyncio.timeout(5):
        with pytest.raises(ContentionError, match=r"for 0\.02 s"):
            await locks.acquire(two, [A])
    assert locks.holder(A) is one
    assert two.waiting_for is None
    locks.release(one)
    assert is_empty(locks)


async def test_who_fails_keeps_what_it_has_until_it_is_released() -> None:
    """A failed wait takes no other lock away; the caller rolls back and releases."""
    locks, one, two = EntityGroupLocks(deadline=0.02), Owner("one"), Owner("two")
    await locks.acquire(one, [B])
    with pytest.raises(ContentionError):
        await locks.acquire(two, [A, B])
    assert locks.holder(A) is two
    locks.release(two)
    locks.release(one)
    assert is_empty(locks)


async def test_a_request_does_not_wait_for_itself() -> None:
    """Two transactions of one request pass each other: it would wait for ever."""
    locks = EntityGroupLocks(deadline=60)
    outer, inner = Owner("request"), Owner("request")
    await locks.acquire(outer, [A])
    async with asyncio.timeout(10):
        await locks.acquire(inner, [A, B])
    assert locks.holder(A) is outer
    assert locks.holder(B) is inner
    locks.release(inner)
    assert locks.holder(A) is outer
    locks.release(outer)
    assert is_empty(locks)


async def test_the_release_of_a_waiting_owner_ends_its_wait() -> None:
    """A transaction that is rolled back while it waits fails, and holds nothing."""
    locks, one, two = EntityGroupLocks(deadline=60), Owner("one"), Owner("two")
    await locks.acquire(one, [A])
    waiting = await acquiring(locks, two, B, A)
    locks.release(two)
    async with asyncio.timeout(10):
        with pytest.raises(ContentionError, match="has ended"):
            await waiting
    assert locks.holder(B) is None
    assert locks.holder(A) is one
    locks.release(one)
    assert is_empty(locks)


async def test_a_released_waiter_does_not_get_the_lock() -> None:
    """The lock goes to the next one, though the first has not yet left the queue."""
    locks = EntityGroupLocks(deadline=60)
    one, two, three = Owner("one"), Owner("two"), Owner("three")
    await locks.acquire(one, [A])
    second = await acquiring(locks, two, A)
    third = await acquiring(locks, three, A)
    # without a turn of the loop in between
    locks.release(two)
    locks.release(one)
    async with asyncio.timeout(10):
        await third
    assert locks.holder(A) is three
    with pytest.raises(ContentionError):
        await second
    locks.release(three)
    assert is_empty(locks)


async def test_a_cancelled_waiter_does_not_get_the_lock() -> None:
    """A wait that is cancelled leaves the queue; the next one gets the lock."""
    locks = EntityGroupLocks(deadline=60)
    one, two, three = Owner("one"), Owner("two"), Owner("three")
    await locks.acquire(one, [A])
    second = await acquiring(locks, two, A)
    third = await acquiring(locks, three, A)
    second.cancel()
    locks.release(one)
    async with asyncio.timeout(10):
        await third
    assert second.cancelled()
    assert locks.holder(A) is three
    locks.release(three)
    assert is_empty(locks)


async def test_a_lock_that_came_as_its_waiter_was_cancelled_is_not_lost() -> None:
    """The release of the cancelled owner hands the lock on to the next one."""
    locks = EntityGroupLocks(deadline=60)
    one, two, three = Owner("one"), Owner("two"), Owner("three")
    await locks.acquire(one, [A])
    second = await acquiring(locks, two, A)
    third = await acquiring(locks, three, A)
    locks.release(one)
    second.cancel()
    await settled()
    locks.release(two)
    async with asyncio.timeout(10):
        await third
    assert locks.holder(A) is three
    locks.release(three)
    assert is_empty(locks)


async def test_a_second_release_is_harmless() -> None:
    """A rollback by the client and the end of its request release twice."""
    locks, one, two = EntityGroupLocks(), Owner("one"), Owner("two")
    await locks.acquire(one, [A])
    locks.release(one)
    await locks.acquire(two, [A])
    locks.release(one)
    assert locks.holder(A) is two
    locks.release(two)
    assert is_empty(locks)


async def test_a_holder_that_stands_still_loses_its_lock() -> None:
    """Its patience over, the first in the queue has the lock, and only that one."""
    locks = EntityGroupLocks()
    still, first, second = (
        Owner("still", patience=0.05),
        Owner("first"),
        Owner("second"),
    )
    await locks.acquire(still, [A])
    waiting = [await acquiring(locks, owner, A) for owner in (first, second)]
    async with asyncio.timeout(10):
        await waiting[0]
    await settled()
    assert locks.holder(A) is first
    assert not waiting[1].done()

    # it no longer has anything to give up
    locks.release(still)
    assert locks.holder(A) is first
    locks.release(first)
    async with asyncio.timeout(10):
        await waiting[1]
    assert locks.holder(A) is second
    locks.release(second)
    assert is_empty(locks)


async def test_a_lock_that_is_freed_as_the_patience_ends() -> None:
    """Whichever comes first, the waiter has the lock, and nothing is left of it."""
    for _ in range(20):
        locks = EntityGroupLocks()
        still, waiter = Owner("still", patience=0.002), Owner("waiter")
        await locks.acquire(still, [A])
        loop = asyncio.get_running_loop()
        loop.call_later(0.002, locks.release, still)
        async with asyncio.timeout(10):
            await locks.acquire(waiter, [A])
        assert locks.holder(A) is waiter
        locks.release(waiter)
        locks.release(still)
        assert is_empty(locks)
