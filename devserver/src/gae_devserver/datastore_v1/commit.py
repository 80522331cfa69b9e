"""Carries out the mutations of a commit: all of them or none."""

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from google.appengine.datastore import entity_bytes_pb2 as entity_pb

from gae_devserver.datastore.entity_locks import Owner
from gae_devserver.datastore.property_index import Row
from gae_devserver.datastore_v1 import results
from gae_devserver.datastore_v1.conflicts import (
    Expected,
    expected_by,
    is_conflict,
    must_fail,
)
from gae_devserver.datastore_v1.databases import Database
from gae_devserver.datastore_v1.entity_limits import check_limits
from gae_devserver.datastore_v1.entity_writer import entity_to_v3
from gae_devserver.datastore_v1.keys import Address, describe
from gae_devserver.datastore_v1.lock_waits import wait_to_write
from gae_devserver.datastore_v1.property_paths import PropertyPath, mask_of
from gae_devserver.datastore_v1.stored_properties import write_masked
from gae_devserver.datastore_v1.transactions import Transaction
from gae_devserver.datastore_v1.transforms import (
    MAX_TRANSFORMS,
    Transform,
    apply_transforms,
    transforms_of,
)
from gae_devserver.rpc.errors import AlreadyExistsError, NotFoundError, check

_NOT_IN_SEQUENCE = {
    ("insert", "insert"),
    ("update", "insert"),
    ("upsert", "insert"),
    ("delete", "update"),
}


@dataclass
class _Change:
    """One mutation, checked and converted."""

    mutation: Any
    operation: str
    key: Any
    """The key as version 1."""
    address: Address
    reference: Any
    """The key as version 3."""
    entity: Any
    """The entity as version 1, after `prepare` as version 3; None to delete."""
    allocated: bool
    """Whether the dev server chooses the id."""
    mask: list[PropertyPath] | None
    transforms: list[Transform]
    expected: Expected | None
    conflicting: bool = False
    conflict: Row | None = None
    """The entity whose version is not the expected one."""
    transform_results: list[Any] = field(default_factory=list)


@dataclass
class Commit:
    """The mutations of one commit, added one by one, then applied at once."""

    database: Database
    transaction: Transaction | None
    _changes: list[_Change] = field(default_factory=list)

    def add(self, mutation: Any) -> None:
        """Check and convert a mutation.

        Raises:
            InvalidArgumentError: the mutation can never be carried out.
        """
        operation = mutation.WhichOneof("operation")
        check(operation, "Mutation is missing operation.")
        entity = None if operation == "delete" else getattr(mutation, operation)
        check(entity is None or entity.HasField("key"), "Entity is missing key.")
        key = mutation.delete if entity is None else entity.key
        partition = self.database.partition
        complete = True if operation in ("update", "delete") else None
        address = partition.address(key, complete=complete, stored=True)
        allocated = address[1][-1] == 0
        self._changes.append(
            _Change(
                mutation=mutation,
                operation=operation,
                key=key,
                address=address,
                reference=partition.reference(*address),
                entity=entity,
                allocated=allocated,
                mask=None if entity is None else mask_of(mutation),
                transforms=transforms_of(mutation, partition),
                expected=expected_by(mutation, key, allocated=allocated),
            )
        )

    def prepare(self) -> None:
        """Allocate ids after all mutations were added, and convert the entities.

        A new entity never gets the id of another entity in the same commit.
        """
        partition, store = self.database.partition, self.database.store
        taken = {change.address for change in self._changes}
        for change in self._changes:
            while change.allocated and change.address in taken:
                last = change.reference.path.element[-1]
                last.ClearField("id")
                store._AllocateIds([change.reference])
                namespace, path = change.address
                change.address = namespace, (*path[:-1], last.id)
            if change.entity is not None:
                change.entity = entity_to_v3(change.entity, partition, change.reference)
        if len(self._changes) > 1:
            self._check_sequence()
        if any(change.transforms for change in self._changes):
            self._check_transforms()

    def _check_sequence(self) -> None:
        """Refuse mutations that cannot follow each other on one entity."""
        before: dict[Address, str] = {}
        expected: dict[Address, Expected | None] = {}
        strict: dict[Address, bool] = {}
        for change in self._changes:
            first = expected.setdefault(change.address, change.expected)
            check(
                change.expected in (None, first),
                "Mutations for the same entity must have the same base version.",
            )
            fails = must_fail(change.mutation)
            check(
                fails == strict.setdefault(change.address, fails),
                "Mutations for the same entity must have the same conflict resolution"
                " strategy.",
            )
            if change.address in before:
                check(
                    self.transaction is not None,
                    "A non-transactional commit may not contain multiple mutations"
                    " affecting the same entity.",
                )
                pair = (before[change.address], change.operation)
                check(
                    pair not in _NOT_IN_SEQUENCE,
                    f"Cannot {' then '.join(pair)} an entity in the same request.",
                )
            before[change.address] = change.operation

    def _check_transforms(self) -> None:
        count: Counter[Address] = Counter()
        for change in self._changes:
            for transform in change.transforms:
                count[change.address] += transform.weight
        check(
            max(count.values(), default=0) <= MAX_TRANSFORMS,
            f"A commit can have at most {MAX_TRANSFORMS} property transforms of an"
            " entity, and each element of an array counts.",
        )

    async def apply(self, response: Any) -> None:
        """Wait for locks, then carry out everything at once.

        Raises:
            AbortedError: entities that the transaction read have changed.
            AlreadyExistsError: the entity of an insert exists.
            FailedPreconditionError: a mutation expects another version.
            InvalidArgumentError: an entity is over a limit after its transforms.
            NotFoundError: the entity of an update does not exist.
        """
        references = {change.address: change.reference for change in self._changes}
        if self.transaction is not None:
            if references:
                # Without mutations it is as if it had ended with its last read.
                await self.transaction.before_writing(references)
            self._apply_now(response)
            self.transaction.written.update(references)
            return
        owner = Owner("v1", patience=0.0)
        try:
            await wait_to_write(self.database, owner, references)
            self._apply_now(response)
        finally:
            self.database.locks.release(owner)

    def _apply_now(self, response: Any) -> None:
        final: dict[Address, _Change] = {}
        deleted: dict[Address, Any] = {}
        now = time.time_ns() // 10**6
        for change in self._changes:
            row = self.database.store.row(*change.address)
            before = row.record.entity if row else None
            if earlier := final.get(change.address):
                before = earlier.entity
            _check_existence(change, before)
            if earlier is None and change.expected is not None:
                change.conflicting = is_conflict(
                    change.mutation, change.key, change.expected, row
                )
                change.conflict = row
            if change.conflicting:
                continue
            final[change.address] = change
            if change.entity is None:
                deleted[change.address] = change.reference
            else:
                self._merge(change, before, now)
        entities = (change.entity for change in final.values())
        version = self.database.store.write(
            (entity for entity in entities if entity is not None), deleted.values()
        )
        for change in self._changes:
            self._write_result(change, version, response.mutation_results.add())
        if self.transaction is not None:
            results.set_time(version, response.commit_time)

    def _merge(self, change: _Change, before: Any, now: int) -> None:
        """Make the entity of a change what replaces `before` in the store."""
        if change.mask is None and not change.transforms:
            return
        if change.mask is not None:
            merged = entity_pb.EntityProto()
            if before is not None:
                merged.CopyFrom(before)
            else:
                merged.key.CopyFrom(change.entity.key)
                merged.entity_group.CopyFrom(change.entity.entity_group)
            write_masked(change.entity, merged, change.mask)
            change.entity = merged
        change.transform_results = apply_transforms(
            change.transforms, change.entity, self.database.partition, now
        )
        check_limits(change.entity)

    def _write_result(self, change: _Change, version: int, into: Any) -> None:
        if change.allocated:
            self.database.partition.write_key(*change.address, into.key)
        row = change.conflict
        if not change.conflicting:
            row = self.database.store.row(*change.address)
        into.conflict_detected = change.conflicting
        into.transform_results.extend(change.transform_results)
        if row is not None:
            results.write_version(row, into)
        else:
            into.version = version


def _check_existence(change: _Change, before: Any) -> None:
    if change.operation == "insert" and before is not None:
        raise AlreadyExistsError(f"entity already exists: {describe(change.key)}")
    if change.operation == "update" and before is None:
        raise NotFoundError(f"no entity to update: {describe(change.key)}")
