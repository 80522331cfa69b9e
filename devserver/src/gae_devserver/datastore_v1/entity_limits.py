"""Refuses entities that are too large, or have too many indexed values.

Source of the limits: "Limits" in the documentation of Datastore.
"""

from typing import Any

from gae_devserver.datastore.encoding import indexed_values
from gae_devserver.datastore_v1 import messages
from gae_devserver.datastore_v1.entity_reader import entity_to_v1
from gae_devserver.rpc.errors import check

MAX_ENTITY_BYTES = 2**20 - 4
_MAX_INDEXED_VALUES = 20_000


def check_limits(proto: Any) -> None:
    """Check the size of an entity of version 3 and the number of its indexed values.

    Raises:
        InvalidArgumentError: one of them is over the limit.
    """
    entity = messages.Entity()
    entity_to_v1(proto, entity)
    check_indexed_values(proto, checked_size(entity))


def checked_size(entity: Any) -> int:
    """Return the size of an entity of version 1.

    Raises:
        InvalidArgumentError: it is over the limit.
    """
    size: int = entity.ByteSize()
    check(
        size <= MAX_ENTITY_BYTES,
        f"The entity is too big: its size is {size} bytes, and the limit is"
        f" {MAX_ENTITY_BYTES} bytes.",
    )
    return size


def check_indexed_values(proto: Any, size: int) -> None:
    """Check how many values of an entity of version 3, of a known size, are indexed.

    Raises:
        InvalidArgumentError: their number is over the limit.
    """
    # Every value takes at least a byte, so only a large entity can have too many.
    if size > _MAX_INDEXED_VALUES:
        count = sum(1 for _ in indexed_values(proto))
        check(count <= _MAX_INDEXED_VALUES, "Too many indexed properties")
