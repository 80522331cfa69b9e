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
    """Take locks of contended entities, and of groups that the bundled API has locked.

    Return the contended entities: `owner` has its turn to change them.
    """
    locks, contention = database.locks, database.contention
    contended: set[Address] = set()
    if not (locks.in_use or contention):
        return contended
    groups = set()
    for address in addresses:
        group = _group_of(database.partition.reference(*address))
        holder = locks.holder(group)
        other = None if holder is owner else holder
        if address in contention:
            contended.add(address)
            if other is not None:
                contention.wait(address)
        elif other is None or other.entities:
            continue
        groups.add(group)
        owner.entities.add(address)
    if groups:
        await _wait_for_locks(database, owner, groups)
    return contended


async def wait_to_write(
    database: Database, owner: Owner, references: Mapping[Address, Any]
) -> None:
    """Take locks for `owner` if another owner has one of the entities or groups."""
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
        await _wait_for_locks(database, owner, blocked | free)


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
    return not holder.entities or address in holder.entities


async def _wait_for_locks(
    database: Database, owner: Owner, groups: Iterable[bytes]
) -> None:
    """Take locks for `owner`, or continue without those that take too long."""
    try:
        # Wait twice the patience: earlier waiters need time too.
        async with asyncio.timeout(2 * database.limits.patience):
            # In sorted order, two writers of the same groups never wait for each other.
            await database.locks.acquire(owner, sorted(groups))
    except ClearedError as error:
        raise InvalidArgumentError(f"{error}.") from None
    except (TimeoutError, ContentionError):
        pass  # the commit checks whether anything that was read has changed
