"""Waits of version 1 for locks of entity groups, which the bundled API shares.

A lock belongs to an entity group, because that is what the bundled API locks. Those of
a transaction of version 1 are only for certain entities of the group: others of
version 1 do not wait for them unless they need the same entities.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from gae_devserver.datastore.calls import entity_group
from gae_devserver.datastore.entity_locks import ClearedError, ContentionError, Owner
from gae_devserver.datastore_v1.databases import Database
from gae_devserver.datastore_v1.keys import Address
from gae_devserver.rpc.errors import InvalidArgumentError


async def wait_to_read(
    database: Database, owner: Owner, addresses: Iterable[Address]
) -> set[Address]:
    """Wait for those that may write the entities next; return what is now locked.

    How long depends on `Contention`, and on who has the lock: see `Limits`.
    """
    locks, contention = database.locks, database.contention
    # Usually nothing is known of any entity.
    known = bool(contention)
    groups, locked, in_line = set(), set(), False
    for address in addresses:
        namespace, path = address
        # its root is enough
        group = _group_of(database.partition.reference(namespace, path[:3]))
        holder = locks.holder(group)
        other = None if holder is owner else holder
        if known and address in contention:
            in_line = True
            if other is not None:
                contention.wait(address)
        elif known and contention.is_shared(address) and not _is_bundled(other):
            continue
        elif other is not None and not _keeps(other, owner, address):
            continue  # it has the group's lock for other entities
        groups.add(group)
        locked.add(address)
    owner.entities |= locked
    if groups:
        most = None if in_line else database.limits.glance
        await _wait_for_locks(database, owner, groups, most)
    return locked


async def wait_to_write(
    database: Database,
    owner: Owner,
    references: Mapping[Address, Any],
    most: float | None = None,
) -> None:
    """Take locks for `owner` if another owner has one of the entities or groups.

    `most` shortens the patience of other transactions of version 1.
    """
    locks = database.locks
    if not locks.in_use:
        return
    groups = {
        address: _group_of(reference) for address, reference in references.items()
    }
    blocked = {
        group
        for address, group in groups.items()
        if _keeps(locks.holder(group), owner, address)
    }
    if blocked:
        free = {group for group in groups.values() if locks.holder(group) is None}
        owner.entities.update(references)
        await _wait_for_locks(database, owner, blocked | free, most)


def groups_of(references: Iterable[Any]) -> set[bytes]:
    """Return the names of the locks of keys' entity groups."""
    return set(filter(None, map(entity_group, references)))


def _group_of(reference: Any) -> bytes:
    group = entity_group(reference)
    assert group, "the key is complete"
    return group


def _keeps(holder: Owner | None, owner: Owner, address: Address) -> bool:
    """Return whether another owner has locked an entity."""
    if holder is None or holder is owner:
        return False
    return _is_bundled(holder) or address in holder.entities


def _is_bundled(holder: Owner | None) -> bool:
    """Return whether the bundled API has locked a whole entity group."""
    return holder is not None and not holder.entities


async def _wait_for_locks(
    database: Database, owner: Owner, groups: Iterable[bytes], most: float | None
) -> None:
    """Take locks for `owner`, or continue without those that take too long."""
    locks = database.locks
    # In sorted order, two writers of the same groups never wait for each other.
    wanted = sorted(groups)
    if all(locks.holder(group) in (None, owner) for group in wanted):
        # A timer takes longer than the locks.
        await locks.acquire(owner, wanted)
        return
    try:
        # Wait twice the patience: earlier waiters need time too.
        async with asyncio.timeout(2 * database.limits.patience):
            await locks.acquire(owner, wanted, most)
    except ClearedError as error:
        raise InvalidArgumentError(f"{error}.") from None
    except (TimeoutError, ContentionError):
        pass  # the commit checks whether anything that was read has changed
