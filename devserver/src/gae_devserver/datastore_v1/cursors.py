"""Query cursors: the place in the order of its results at which a query continues.

A cursor holds the values by which its result was sorted, so it stays exact even when
that entity is changed or deleted. The bundled API's cursors have the same form.
"""

from typing import Any, NamedTuple

from google.appengine.datastore import datastore_pb
from google.protobuf.message import DecodeError

from gae_devserver.datastore.encoding import KEY_PROPERTY, property_value
from gae_devserver.datastore.index_query import (
    Order,
    Position,
    cursor_position,
    precedes,
)
from gae_devserver.datastore_v1.keys import Partition
from gae_devserver.rpc.errors import InvalidArgumentError, check


class Place(NamedTuple):
    """A place between two results of a query."""

    position: Position
    """The position of the result at which the cursor was made."""
    before: bool
    """Whether the place is before that result, not after it."""

    def follows(self, position: Position, orders: tuple[Order, ...]) -> bool:
        """Return whether the result at a position comes before this place."""
        if self.before:
            return precedes(position, self.position, orders)
        return not precedes(self.position, position, orders)


def encode(
    position: Position, orders: tuple[Order, ...], namespace: str, partition: Partition
) -> bytes:
    """Return the cursor that points to the place after a result."""
    cursor = datastore_pb.CompiledCursor()
    place = cursor.postfix_position
    place.before = False
    # After a result in descending order is before it in ascending order.
    place.before_ascending = orders[0][1]
    for (name, _), value in zip(orders, position, strict=True):
        if name == KEY_PROPERTY:
            place.key.CopyFrom(partition.reference(namespace, value))
        else:
            item = place.index_value.add(property_name=name)
            item.value.SetInParent()
            property_value(value, item.value)
    return cursor.SerializeToString()


def decode(
    cursor: bytes,
    orders: tuple[Order, ...],
    namespace: str,
    kind: str,
    partition: Partition,
) -> Place:
    """Return the place that a cursor points to.

    The query may have the reversed order of the cursor's query: the results that came
    before the place then come after it.

    Args:
        cursor: what a client sent.
        orders: the complete orders of the query.
        namespace: the namespace of the query.
        kind: the kind of the query; empty for entities of every kind.
        partition: the project and database of the query.

    Raises:
        InvalidArgumentError: the bytes are no cursor, or one of another query.
    """
    try:
        place = datastore_pb.CompiledCursor.FromString(cursor).postfix_position
    except DecodeError:
        raise InvalidArgumentError("The cursor is not valid.") from None
    position = cursor_position(place, orders)
    if position is None or not place.key.path.element:
        raise InvalidArgumentError("The cursor does not match the query.")
    _check_key(place.key, namespace, kind, partition)
    before = place.before
    if place.HasField("before_ascending"):
        before = place.before_ascending != orders[0][1]
    return Place(position, before)


def _check_key(key: Any, namespace: str, kind: str, partition: Partition) -> None:
    """Check that a query can find the key in a cursor."""
    # repr: bytes of a client are not always text that a status can carry
    found = key.path.element[-1].type
    check(
        kind in ("", found),
        f"The query kind is {kind!r} but the cursor is of the kind {found!r}.",
    )
    check(
        key.name_space == namespace,
        f"The query namespace is {namespace!r} but the cursor is of the namespace"
        f" {key.name_space!r}.",
    )
    check(
        (key.app, key.database_id) == (partition.app_id, partition.database),
        "The cursor is of a query of another project or database.",
    )
