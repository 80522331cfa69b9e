"""Query cursors: the place in the order of its results at which a query continues.

A cursor holds the values by which its result was sorted, so it stays exact even when
that entity is changed or deleted. The bundled API's cursors have the same form.
"""

from typing import NamedTuple

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
from gae_devserver.rpc.errors import InvalidArgumentError


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


def decode(cursor: bytes, orders: tuple[Order, ...]) -> Place:
    """Return the place that a cursor points to.

    The query may have the reversed order of the cursor's query: the results that came
    before the place then come after it.

    Raises:
        InvalidArgumentError: the bytes are no cursor, or one of another query.
    """
    try:
        place = datastore_pb.CompiledCursor.FromString(cursor).postfix_position
    except DecodeError:
        raise InvalidArgumentError("The cursor is not valid.") from None
    position = cursor_position(place, orders)
    if position is None:
        raise InvalidArgumentError("The cursor does not match the query.")
    before = place.before
    if place.HasField("before_ascending"):
        before = place.before_ascending != orders[0][1]
    return Place(position, before)
