"""Messages of google.datastore.v1 with random contents, half of them sensible."""

import math
from typing import Any

from hypothesis import strategies as st

from tests.helpers.calls import PROJECT

_DEPTH = 7
_TEXTS = ["", "a", "b", "a.b", "__key__", "__kind__", "__a__", "é", "\x00", "x" * 1600]
_KNOWN: dict[str, list[Any]] = {
    # Nearly always right, so that most requests get past the first checks.
    "project_id": [PROJECT] * 40 + ["", "other", "é"],
    "database_id": [""] * 40 + ["other", "(default)", "Ä"],
    "namespace_id": [""] * 10 + ["n", "a b", "é"],
    "kind": ["a"] * 40 + _TEXTS,
    "name": ["a"] * 40 + ["b"] * 20 + ["__key__"] * 4 + _TEXTS,
    "id": [1] * 10 + [2] * 10 + [0, -1, 2**63 - 1, -(2**63)],
    "alias": ["", "", "a", "b", "__a__"],
    "transaction": [b"", b"1", b"-1", b"\xff", "²".encode(), b"9" * 30],
    "previous_transaction": [b"", b"1", b"9" * 30],
    "start_cursor": [b"", b"", b"", b"x", b"\x08\x01"],
    "end_cursor": [b"", b"", b"", b"x", b"\x08\x01"],
    "seconds": [0, 1, -1, 2**31, 253402300799, 2**63 - 1, -(2**63)],
    "nanos": [0, 1, 999_999_999, -1, 2**31 - 1],
}
_RARE = {
    "gql_query",
    "explain_options",
    "property_transforms",
    "property_mask",
    "mask",
    "read_time",
    "find_nearest",
    "base_version",
    "update_time",
    "database_id",
}
"""Fields with which most requests are refused at once, or that are hardly ever set."""
_USUAL = {
    "project_id",
    "path",
    "kind",
    "name",
    "key",
    "keys",
    "op",
    "property",
    "value",
    "mutations",
    "aggregations",
    "nested_query",
    "mode",
    "filters",
}
"""Fields without which most requests are refused."""
_NUMBERS = [0, 1, 2, 3, -1, 10, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63)]


@st.composite
def contents(draw: st.DrawFn, message: Any, depth: int = 0) -> None:
    """Set some fields of a message, and at most one of each oneof."""
    descriptor = message.DESCRIPTOR
    chosen = {oneof.name: _choose(draw, oneof) for oneof in descriptor.oneofs}
    for field in descriptor.fields:
        oneof = field.containing_oneof
        if oneof is not None and chosen[oneof.name] != field.name:
            continue
        if oneof is None and field.name in _RARE and draw(st.integers(0, 15)):
            continue
        always = oneof is not None or field.name in _USUAL
        if always or draw(st.booleans()):
            _set(draw, message, field, depth)


def _choose(draw: st.DrawFn, oneof: Any) -> str | None:
    """Draw the field of a oneof to set, usually a common one."""
    names = [field.name for field in oneof.fields]
    usual = [name for name in names if name not in _RARE]
    return draw(st.sampled_from([*usual * 20, *names, None]))


def _set(draw: st.DrawFn, message: Any, field: Any, depth: int) -> None:
    kind = field.message_type
    if kind is None:
        values = _values(field)
        if field.is_repeated:
            getattr(message, field.name).extend(draw(st.lists(values, max_size=2)))
        else:
            setattr(message, field.name, draw(values))
    elif depth >= _DEPTH:
        return
    elif kind.GetOptions().map_entry:
        for name in draw(st.lists(st.sampled_from(_TEXTS), max_size=2)):
            part = getattr(message, field.name)[name]
            draw(contents(part, depth + 1))
    elif field.is_repeated:
        # A query has one kind; other repeated fields may have more parts.
        most = 1 if field.name == "kind" and draw(st.integers(0, 9)) else 2
        for _ in range(draw(st.integers(field.name in _USUAL, most))):
            draw(contents(getattr(message, field.name).add(), depth + 1))
    else:
        part = getattr(message, field.name)
        part.SetInParent()
        draw(contents(part, depth + 1))


def _values(field: Any) -> st.SearchStrategy[Any]:
    """Return values of a field's type, which may make no sense otherwise."""
    if field.name in _KNOWN:
        return st.sampled_from(_KNOWN[field.name])
    if field.enum_type is not None:
        numbers = [value.number for value in field.enum_type.values]
        # Enums are open: a newer client may send values that are unknown here.
        return st.sampled_from([*numbers[1:] * 20, *numbers, 99])
    kind = field.cpp_type
    if kind == field.CPPTYPE_STRING:
        if field.type == field.TYPE_BYTES:
            return st.binary(max_size=5)
        return st.sampled_from(_TEXTS)
    if kind == field.CPPTYPE_BOOL:
        return st.booleans()
    if kind in (field.CPPTYPE_DOUBLE, field.CPPTYPE_FLOAT):
        return st.sampled_from([0.0, -0.0, 1.5, -1e308, math.nan, math.inf, -math.inf])
    if kind == field.CPPTYPE_INT32:
        return st.sampled_from(_NUMBERS[:8])
    return st.sampled_from(_NUMBERS)
