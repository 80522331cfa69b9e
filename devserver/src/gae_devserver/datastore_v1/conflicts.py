"""Detects that an entity has another version than a mutation expects."""

from typing import Any

from gae_devserver.datastore.property_index import Row
from gae_devserver.datastore_v1 import messages, results
from gae_devserver.datastore_v1.keys import describe
from gae_devserver.rpc.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    check,
)

Expected = tuple[int, ...]
"""A version, or the seconds and nanoseconds of an update.

An entity that does not exist has version 0 and was updated at 0.
"""

_Resolution = messages.Mutation.ConflictResolutionStrategy


def expected_by(mutation: Any, key: Any, *, allocated: bool) -> Expected | None:
    """Return what a mutation expects of the stored entity, if anything.

    Raises:
        InvalidArgumentError: no entity can meet it.
    """
    strategy = mutation.WhichOneof("conflict_detection_strategy")
    resolution = mutation.conflict_resolution_strategy
    if strategy is None:
        check(
            not resolution,
            "cannot set a conflict resolution strategy if no detection strategy was"
            " set",
        )
        return None
    check(
        resolution in _Resolution.values(),
        f"Unknown conflict resolution strategy: {resolution}.",
    )
    check(not allocated, "conflict detection is not allowed for incomplete keys")
    if strategy == "base_version":
        version = mutation.base_version
        check(version >= 0, f"Invalid base_version: {version}, it should be >= 0")
        expected: Expected = (version,)
    else:
        expected = _checked_time(mutation.update_time)
    operation = mutation.WhichOneof("operation")
    if operation == "insert" and any(expected):
        raise InvalidArgumentError(
            "Cannot insert an entity with a base version greater than zero:"
            f" {describe(key)}"
        )
    if operation == "update" and not any(expected):
        raise InvalidArgumentError(
            f"Cannot update an entity with a base version set to zero: {describe(key)}"
        )
    return expected


def _checked_time(time: Any) -> Expected:
    check(
        time.seconds >= 0 and 0 <= time.nanos < 10**9,
        f"Invalid update_time: {time.seconds} seconds and {time.nanos} nanoseconds.",
    )
    check(
        time.nanos % 1000 == 0,
        "timestamp cannot have more than microseconds precision",
    )
    return time.seconds, time.nanos


def must_fail(mutation: Any) -> bool:
    """Return whether a conflict makes the whole commit fail."""
    return bool(mutation.conflict_resolution_strategy == _Resolution.FAIL)


def is_conflict(mutation: Any, key: Any, expected: Expected, row: Row | None) -> bool:
    """Return whether the stored entity is not what a mutation expects.

    Raises:
        FailedPreconditionError: it is not, and the mutation lets the commit fail.
        InvalidArgumentError: there has been no such version yet.
    """
    version = row.version if row else 0
    stored: Expected = (version,)
    if mutation.HasField("update_time"):
        time = messages.Timestamp()
        results.set_time(version, time)
        stored = time.seconds, time.nanos
    if row is not None and expected > stored:
        raise InvalidArgumentError(
            "Invalid base version, it is greater than the stored version:"
            f" {describe(key)}"
        )
    if stored == expected:
        return False
    if must_fail(mutation):
        raise FailedPreconditionError(
            f"the stored version ({_text(stored)}) does not match the required base"
            f" version ({_text(expected)}): {describe(key)}"
        )
    return True


def _text(expected: Expected) -> str:
    first, *nanos = expected
    return f"{first}.{nanos[0]:09} s" if nanos else str(first)
