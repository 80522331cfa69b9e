"""Carries out the mutations of a commit: all of them or none."""

from dataclasses import dataclass, field
from typing import Any

from gae_devserver.datastore.entity_locks import Owner
from gae_devserver.datastore.property_index import Row
from gae_devserver.datastore_v1 import messages, results
from gae_devserver.datastore_v1.databases import Database
from gae_devserver.datastore_v1.entity_writer import entity_to_v3
from gae_devserver.datastore_v1.keys import Address, describe
from gae_devserver.datastore_v1.transactions import (
    Transaction,
    wait_to_write,
)
from gae_devserver.rpc.errors import (
    AbortedError,
    AlreadyExistsError,
    NotFoundError,
    check,
    refuse_if,
)

_FAIL = messages.Mutation.ConflictResolutionStrategy.FAIL
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
    conflicting: bool = False
    conflict: Row | None = None
    """The entity whose version is not the expected one."""


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
            UnimplementedError: it uses a part of the API that the dev server lacks.
        """
        refuse_if(mutation.property_transforms, "property_transforms")
        refuse_if(mutation.HasField("property_mask"), "property_mask of a mutation")
        operation = mutation.WhichOneof("operation")
        check(operation, "Mutation is missing operation.")
        entity = None if operation == "delete" else getattr(mutation, operation)
        check(entity is None or entity.HasField("key"), "Entity is missing key.")
        key = mutation.delete if entity is None else entity.key
        partition = self.database.partition
        complete = True if operation in ("update", "delete") else None
        address = partition.address(key, complete=complete, stored=True)
        self._changes.append(
            _Change(
                mutation=mutation,
                operation=operation,
                key=key,
                address=address,
                reference=partition.reference(*address),
                entity=entity,
                allocated=address[1][-1] == 0,
            )
        )

    def prepare(self) -> None:
        """Allocate ids after all mutations were added, and convert the entities.

        A new entity never gets the id of another entity in the same commit.
        """
        partition, store = self.database.partition, self.database.store
        taken = {change.address for change in self._changes}
        for change in self._changes:
            last = change.reference.path.element[-1]
            while change.allocated and change.address in taken:
                last.ClearField("id")
                store._AllocateIds([change.reference])
                namespace, path = change.address
                change.address = namespace, (*path[:-1], last.id)
            if change.entity is not None:
                change.entity = entity_to_v3(change.entity, partition, change.reference)
        self._check_sequence()

    def _check_sequence(self) -> None:
        """Refuse mutations that cannot follow each other on one entity."""
        before: dict[Address, str] = {}
        for change in self._changes:
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

    async def apply(self, response: Any) -> None:
        """Wait for locks, then carry out everything at once.

        Raises:
            AbortedError: entities that the transaction read have changed.
            AlreadyExistsError: the entity of an insert exists.
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
        for change in self._changes:
            self._check_existence(change, final)
            if not change.conflicting:
                final[change.address] = change
        writes = [change for change in final.values() if change.entity is not None]
        deletes = [change for change in final.values() if change.entity is None]
        version = self.database.store.write(
            (change.entity for change in writes),
            (change.reference for change in deletes),
        )
        for change in self._changes:
            self._write_result(change, version, response.mutation_results.add())
        results.set_time(version, response.commit_time)

    def _check_existence(self, change: _Change, final: dict[Address, _Change]) -> None:
        row = self.database.store.row(*change.address)
        earlier = final.get(change.address)
        exists = row is not None if earlier is None else earlier.entity is not None
        if change.operation == "insert" and exists:
            raise AlreadyExistsError(f"entity already exists: {describe(change.key)}")
        if change.operation == "update" and not exists:
            raise NotFoundError(f"no entity to update: {describe(change.key)}")
        if earlier is None and _conflicts(change.mutation, row):
            if change.mutation.conflict_resolution_strategy == _FAIL:
                raise AbortedError(
                    f"the entity has another version: {describe(change.key)}"
                )
            change.conflicting, change.conflict = True, row

    def _write_result(self, change: _Change, version: int, into: Any) -> None:
        if change.allocated:
            self.database.partition.write_key(*change.address, into.key)
        row = change.conflict
        if not change.conflicting:
            row = self.database.store.row(*change.address)
        into.conflict_detected = change.conflicting
        if row is not None:
            results.write_version(row, into)
        elif not change.conflicting:
            into.version = version


def _conflicts(mutation: Any, row: Row | None) -> bool:
    """Return whether a mutation expects another version than the stored one."""
    match mutation.WhichOneof("conflict_detection_strategy"):
        case "base_version":
            now = row.record.metadata.updated_version if row else 0
            return mutation.base_version != now
        case "update_time":
            expected = mutation.update_time
            stated = expected.seconds * 1000 + expected.nanos // 10**6
            return row is None or stated != row.record.metadata.updated_version
    return False
