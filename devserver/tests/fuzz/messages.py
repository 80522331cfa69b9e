"""Protocol buffers whose contents fit their fields' types, and often make sense."""

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

_OF_APPS = ["default", "dev~unit", "s~other"]
_RESERVED = ["__key__", "__kind__", "__a__"]
TEXTS = ["", "a", "b", "a.b", "é", "\x00", "x" * 1600, *_OF_APPS, *_RESERVED]
NUMBERS = [0, 1, 2, 3, -1, 10, 1000, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63)]


@dataclasses.dataclass(frozen=True)
class Style:
    """What gets many messages of an API past its first checks."""

    depth: int
    """How deeply messages may nest."""
    known: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)
    """A field's name -> its values."""
    usual: Collection[str] = ()
    """Fields that are always set."""
    rare: Collection[str] = ()
    """Fields that are hardly ever set."""


@st.composite
def messages(draw: st.DrawFn, message_class: Any, style: Style) -> Any:
    """Draw a message."""
    message = message_class()
    _fill(draw, message, style, style.depth)
    return message


def _fill(draw: st.DrawFn, message: Any, style: Style, depth: int) -> None:
    """Set some fields of a message, and at most one of each oneof."""
    descriptor = message.DESCRIPTOR
    chosen = {_choose(draw, oneof, style) for oneof in descriptor.oneofs}
    for field in descriptor.fields:
        if field.containing_oneof is not None:
            is_set = field.name in chosen
        elif field.is_required or field.name in style.usual:
            is_set = True
        else:
            is_rare = field.name in style.rare
            is_set = draw(st.booleans()) and not (is_rare and draw(st.integers(0, 7)))
        if is_set and (depth or field.message_type is None):
            _set(draw, message, field, style, depth - 1)


def _choose(draw: st.DrawFn, oneof: Any, style: Style) -> str | None:
    """Draw the field of a oneof to set, usually a common one."""
    names = [field.name for field in oneof.fields]
    usual = [name for name in names if name not in style.rare]
    return draw(st.sampled_from([*usual * 20, *names, None]))


def _set(draw: st.DrawFn, message: Any, field: Any, style: Style, depth: int) -> None:
    kind = field.message_type
    part = getattr(message, field.name)
    if kind is None:
        values = _values(field, style)
        if field.is_repeated:
            part.extend(draw(st.lists(values, max_size=2)))
        else:
            setattr(message, field.name, draw(values))
    elif kind.GetOptions().map_entry:
        content = kind.fields_by_name["value"]
        for name in draw(st.lists(st.sampled_from(TEXTS), max_size=2)):
            if content.message_type is None:
                part[name] = draw(_values(content, style))
            else:
                _fill(draw, part[name], style, depth)
    elif field.is_repeated:
        # A query has one kind; other repeated fields may have more parts.
        most = 1 if field.name == "kind" and draw(st.integers(0, 9)) else 2
        for _ in range(draw(st.integers(field.name in style.usual, most))):
            _fill(draw, part.add(), style, depth)
    else:
        part.SetInParent()
        _fill(draw, part, style, depth)


def _values(field: Any, style: Style) -> st.SearchStrategy[Any]:
    """Return values of a field's type, which may make no sense otherwise."""
    if field.name in style.known:
        return st.sampled_from(style.known[field.name])
    if field.enum_type is not None:
        numbers = [value.number for value in field.enum_type.values]
        if not field.enum_type.is_closed:
            # 0 is unspecified; a newer client may send values that are unknown here
            numbers = [*numbers[1:] * 20, *numbers, 99]
        return st.sampled_from(numbers)
    match field.cpp_type:
        case field.CPPTYPE_STRING if field.type == field.TYPE_BYTES:
            return st.sampled_from([*(text.encode() for text in TEXTS), b"\xff"])
        case field.CPPTYPE_STRING:
            return st.sampled_from(TEXTS)
        case field.CPPTYPE_BOOL:
            return st.booleans()
        case field.CPPTYPE_DOUBLE | field.CPPTYPE_FLOAT:
            special = [0.0, -0.0, 1.5, -1e30, math.nan, math.inf, -math.inf]
            return st.sampled_from([*special, *map(float, NUMBERS)])
        case field.CPPTYPE_INT32:
            return st.sampled_from([n for n in NUMBERS if -(2**31) <= n < 2**31])
        case field.CPPTYPE_UINT32:
            return st.sampled_from([n for n in NUMBERS if 0 <= n < 2**32])
        case field.CPPTYPE_UINT64:
            return st.sampled_from([n for n in NUMBERS if n >= 0])
    return st.sampled_from(NUMBERS)
