"""Property transforms: changes of a property that depend on its stored value."""

import operator
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, NamedTuple

from google.appengine.datastore import entity_bytes_pb2 as entity_pb

from gae_devserver.datastore_v1 import messages
from gae_devserver.datastore_v1.entity_reader import entity_to_v1
from gae_devserver.datastore_v1.entity_writer import properties_to_v3
from gae_devserver.datastore_v1.keys import Partition
from gae_devserver.datastore_v1.property_paths import PropertyPath, parse_path
from gae_devserver.datastore_v1.stored_properties import (
    embed_entity,
    embedded_entity,
    property_of,
    replace_properties,
)
from gae_devserver.rpc.errors import check

MAX_TRANSFORMS = 500
"""Of one entity in a commit; each element of an array counts.

Source: "Limits" in the documentation of Datastore.
"""

_NUMBERS = ("integer_value", "double_value")
_ARRAYS = ("append_missing_elements", "remove_all_from_array")
_LEAST, _GREATEST = -(2**63), 2**63 - 1


class Transform(NamedTuple):
    """One transform, checked."""

    path: PropertyPath
    operation: str
    operand: Any
    """A value of version 1; none yet for a server value."""

    @property
    def weight(self) -> int:
        """What it counts towards `MAX_TRANSFORMS`."""
        return len(self.operand.array_value.values) or 1


def transforms_of(mutation: Any, partition: Partition) -> list[Transform]:
    """Return the transforms of a mutation.

    Raises:
        InvalidArgumentError: one of them can never be carried out.
    """
    if not mutation.property_transforms:
        return []
    check(
        not mutation.HasField("delete"),
        "Delete mutation cannot have PropertyTransforms.",
    )
    found = [_parse(message, partition) for message in mutation.property_transforms]
    paths = {tuple(transform.path) for transform in found}
    for path in paths:
        for length in range(1, len(path)):
            check(
                path[:length] not in paths,
                f"Cannot transform property {'.'.join(path[:length])} and its nested"
                " property at the same time.",
            )
    return found


def _parse(message: Any, partition: Partition) -> Transform:
    path = parse_path(message.property, "property")
    operation = message.WhichOneof("transform_type")
    check(
        operation,
        f'The transform of property "{message.property}" has no type.',
    )
    given = getattr(message, operation)
    operand = messages.Value()
    if operation == "set_to_server_value":
        check(
            given == messages.PropertyTransform.REQUEST_TIME,
            f'The server value of property "{message.property}" is {given}, not'
            " REQUEST_TIME.",
        )
        operand.timestamp_value.SetInParent()
    elif operation in _ARRAYS:
        operand.array_value.CopyFrom(given)
        if operation == "remove_all_from_array":
            # What is compared needs no index, so it can be longer.
            for item in operand.array_value.values:
                item.exclude_from_indexes = True
    else:
        kind = given.WhichOneof("value_type")
        check(
            kind in _NUMBERS,
            f"Input must be int64 or double: the {operation} of property"
            f' "{message.property}" is {kind or "no value"}.',
        )
        operand.CopyFrom(given)
    # Check it where it goes, and give equal values one form.
    converted = _to_v3(operand, path, partition)
    return Transform(path, operation, _value_of(converted, path[-1]))


def apply_transforms(
    transforms: list[Transform], entity: Any, partition: Partition, now: int
) -> list[Any]:
    """Change an entity of version 3; return the results, in order.

    Args:
        transforms: what to change.
        entity: is changed in place.
        partition: where it is stored.
        now: the time of the request in milliseconds since the epoch.
    """
    return [
        _apply(transform, transform.path, entity, partition, now)
        for transform in transforms
    ]


def _apply(
    transform: Transform,
    path: PropertyPath,
    entity: Any,
    partition: Partition,
    now: int,
) -> Any:
    name, *deeper = path
    if deeper:
        embedded = embedded_entity(entity, name)
        if embedded is None:
            embedded = entity_pb.EntityProto()
        result = _apply(transform, deeper, embedded, partition, now)
        embed_entity(entity, name, embedded)
        return result
    stored = _value_of(property_of(entity, name), name)
    new = _new_value(transform, stored, now)
    # What stays may have more than version 1 can say.
    if new is not stored:
        converted = _to_v3(new, transform.path, partition)
        replace_properties(entity, {name}, converted)
    return messages.Value(null_value=0) if transform.operation in _ARRAYS else new


def _value_of(entity: Any, name: str) -> Any:
    """Return a property of version 3 as a value; without one it has no type."""
    converted = messages.Entity()
    entity_to_v1(entity, converted)
    return converted.properties[name]


def _to_v3(value: Any, path: PropertyPath, partition: Partition) -> Any:
    entity = messages.Entity()
    entity.properties[path[-1]].CopyFrom(value)
    return properties_to_v3(entity, partition, tuple(path[:-1]))


def _new_value(transform: Transform, stored: Any, now: int) -> Any:
    """Return what to store; this is `stored` itself if nothing changes."""
    if transform.operation == "set_to_server_value":
        value = messages.Value()
        value.timestamp_value.FromMilliseconds(now)
        return value
    return _CHANGES[transform.operation](stored, transform.operand)


def _number(value: Any) -> int | float | None:
    """Return the number of a value; None if it has another type."""
    kind = value.WhichOneof("value_type")
    return getattr(value, kind) if kind in _NUMBERS else None


def _increment(stored: Any, operand: Any) -> Any:
    number, amount = _number(stored), _number(operand)
    if number is None or amount is None:
        return operand
    value = messages.Value(exclude_from_indexes=operand.exclude_from_indexes)
    if isinstance(number, int) and isinstance(amount, int):
        value.integer_value = max(_LEAST, min(number + amount, _GREATEST))
    else:
        value.double_value = float(number) + float(amount)
    return value


def _extreme(is_beyond: Callable[[Any, Any], bool], stored: Any, operand: Any) -> Any:
    number, other = _number(stored), _number(operand)
    if number is None or other != other:
        return operand
    # False for NaN and for equal numbers, also of different types.
    return operand if is_beyond(other, number) else stored


def _append_missing(stored: Any, operand: Any) -> Any:
    present = {_identity(item) for item in stored.array_value.values}
    missing = []
    for item in operand.array_value.values:
        if _identity(item) not in present:
            present.add(_identity(item))
            missing.append(item)
    return _with_items(stored, [*stored.array_value.values, *missing])


def _remove_all(stored: Any, operand: Any) -> Any:
    removed = {_identity(item) for item in operand.array_value.values}
    return _with_items(
        stored,
        [item for item in stored.array_value.values if _identity(item) not in removed],
    )


def _with_items(stored: Any, items: list[Any]) -> Any:
    if stored.HasField("array_value") and len(items) == len(stored.array_value.values):
        return stored
    value = messages.Value()
    value.array_value.SetInParent()
    value.array_value.values.extend(items)
    return value


def _identity(value: Any) -> Hashable:
    """Return what is equal for equal values; 3 equals 3.0, and NaN equals NaN."""
    kind = value.WhichOneof("value_type")
    content = getattr(value, kind)
    match kind:
        case "integer_value" | "double_value":
            return "number", content if content == content else None
        case "array_value":
            return kind, tuple(map(_identity, content.values))
        case "entity_value":
            properties = content.properties.items()
            items = frozenset((name, _identity(item)) for name, item in properties)
            return kind, content.key.SerializeToString(deterministic=True), items
        case "key_value" | "timestamp_value" | "geo_point_value":
            return kind, content.SerializeToString(deterministic=True)
    return kind, content


_CHANGES: dict[str, Callable[[Any, Any], Any]] = {
    "increment": _increment,
    "maximum": partial(_extreme, operator.gt),
    "minimum": partial(_extreme, operator.lt),
    "append_missing_elements": _append_missing,
    "remove_all_from_array": _remove_all,
}
