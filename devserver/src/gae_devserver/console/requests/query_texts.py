"""Shows a query of either API of the datastore in the form of GQL."""

from collections.abc import Iterable, Iterator
from typing import Any

_V3_OPERATORS = {
    1: "<",
    2: "<=",
    3: ">",
    4: ">=",
    5: "=",
    6: "IN",
    7: "EXISTS",
    9: "!=",
    10: "NOT IN",
}
_V1_OPERATORS = {
    "LESS_THAN": "<",
    "LESS_THAN_OR_EQUAL": "<=",
    "GREATER_THAN": ">",
    "GREATER_THAN_OR_EQUAL": ">=",
    "EQUAL": "=",
    "NOT_EQUAL": "!=",
    "HAS_ANCESTOR": "HAS ANCESTOR",
    "NOT_IN": "NOT IN",
}
_MAX_VALUE = 60


def path_text(elements: Iterable[tuple[str, str | int | None]]) -> str:
    """Return a key from its pairs of kind and ID, such as Book 'a' / Page 5."""
    return " / ".join(
        kind if not identity else f"{kind} {identity!r}" for kind, identity in elements
    )


def v3_key(elements: Iterable[Any]) -> str:
    """Return a key from the elements of its path."""
    return path_text(
        (_text(element.type), _text(element.name) or element.id) for element in elements
    )


def v1_key(key: Any) -> str:
    """Return a key."""
    return path_text((element.kind, element.name or element.id) for element in key.path)


def v3_query(query: Any) -> str:
    """Return a query of the bundled API."""
    conditions = []
    if query.HasField("ancestor"):
        conditions.append(f"ANCESTOR IS {v3_key(query.ancestor.path.element)}")
    for item in query.filter:
        operator = _V3_OPERATORS.get(item.op, "?")
        if not item.property:
            conditions.append(operator)
        for prop in item.property:
            value = _v3_value(prop.value)
            conditions.append(f"{_text(prop.name)} {operator} {value}")
    return _gql(
        _selected(query.keys_only, map(_text, query.property_name)),
        _text(query.kind),
        conditions,
        [
            _text(order.property) + (" DESC" if order.direction == 2 else "")
            for order in query.order
        ],
        query.limit if query.HasField("limit") else None,
        query.offset,
    )


def v1_query(query: Any) -> str:
    """Return a query of Datastore."""
    names = [item.property.name for item in query.projection]
    condition = "".join(_v1_conditions(query.filter, outermost=True))
    return _gql(
        _selected(names == ["__key__"], names),
        query.kind[0].name if query.kind else "",
        [condition] if condition else [],
        [
            order.property.name + (" DESC" if order.direction == 2 else "")
            for order in query.order
        ],
        query.limit.value if query.HasField("limit") else None,
        query.offset,
    )


def _selected(keys_only: bool, names: Iterable[str]) -> str:
    return "__key__" if keys_only else ", ".join(names) or "*"


def _gql(
    selected: str,
    kind: str,
    conditions: list[str],
    orders: list[str],
    limit: int | None,
    offset: int,
) -> str:
    parts = [f"SELECT {selected}"]
    if kind:
        parts.append(f"FROM {kind}")
    if conditions:
        parts.append(f"WHERE {' AND '.join(conditions)}")
    if orders:
        parts.append(f"ORDER BY {', '.join(orders)}")
    if limit is not None:
        parts.append(f"LIMIT {limit}")
    if offset:
        parts.append(f"OFFSET {offset}")
    return " ".join(parts)


def _v3_value(value: Any) -> str:
    if value.HasField("int64Value"):
        return str(value.int64Value)
    if value.HasField("booleanValue"):
        return str(value.booleanValue).upper()
    if value.HasField("stringValue"):
        return _quoted(_text(value.stringValue))
    if value.HasField("doubleValue"):
        return str(value.doubleValue)
    if value.HasField("pointvalue"):
        return f"GEOPT({value.pointvalue.x}, {value.pointvalue.y})"
    if value.HasField("uservalue"):
        return f"USER({_quoted(_text(value.uservalue.email))})"
    if value.HasField("referencevalue"):
        return f"KEY({v3_key(value.referencevalue.pathelement)})"
    return "NULL"


def _v1_conditions(condition: Any, *, outermost: bool = False) -> Iterator[str]:
    """Yield the parts of a filter; only one inside another needs parentheses."""
    if condition.HasField("composite_filter"):
        composite = condition.composite_filter
        word = " OR " if composite.op == 2 else " AND "
        texts = ["".join(_v1_conditions(inner)) for inner in composite.filters]
        text = word.join(texts)
        yield text if outermost or len(texts) == 1 else f"({text})"
    elif condition.HasField("property_filter"):
        one = condition.property_filter
        name = type(one).Operator.Name(one.op)
        operator = _V1_OPERATORS.get(name, name)
        yield f"{one.property.name} {operator} {_v1_value(one.value)}"


def _v1_value(value: Any) -> str:
    match value.WhichOneof("value_type"):
        case "integer_value" | "double_value" as field:
            return str(getattr(value, field))
        case "boolean_value":
            return str(value.boolean_value).upper()
        case "string_value":
            return _quoted(value.string_value)
        case "blob_value":
            return _quoted(_text(value.blob_value))
        case "key_value":
            return f"KEY({v1_key(value.key_value)})"
        case "timestamp_value":
            return f"DATETIME({value.timestamp_value.ToJsonString()})"
        case "geo_point_value":
            point = value.geo_point_value
            return f"GEOPT({point.latitude}, {point.longitude})"
        case "array_value":
            return f"({', '.join(map(_v1_value, value.array_value.values))})"
        case "entity_value":
            return "ENTITY"
    return "NULL"


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE]}…")


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
