"""Protocol buffers with random contents."""

import math
import random
from typing import Any

_TEXTS = ["", "a", "default", "dev~unit", "s~other", "é", "\x00", "__a__", "x" * 600]
_NUMBERS = [0, 1, -1, 2, 7, 1000, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63)]
_DEPTH = 5


def fill(message: Any, chance: random.Random, depth: int = 0) -> Any:
    """Set some fields of a message, and some of the messages in it."""
    for field in message.DESCRIPTOR.fields:
        if not field.is_required and chance.random() < 0.5:
            continue
        if field.is_repeated:
            values = getattr(message, field.name)
            for _ in range(chance.randrange(3)):
                if field.message_type is None:
                    values.append(_value(field, chance))
                elif depth < _DEPTH:
                    fill(values.add(), chance, depth + 1)
        elif field.message_type is None:
            setattr(message, field.name, _value(field, chance))
        elif depth < _DEPTH:
            part = getattr(message, field.name)
            part.SetInParent()
            fill(part, chance, depth + 1)
    return message


def _value(field: Any, chance: random.Random) -> Any:
    """Return a value that fits the field's type, though perhaps not its meaning."""
    if field.enum_type is not None:
        return chance.choice(field.enum_type.values).number
    kind = field.cpp_type
    if kind == field.CPPTYPE_STRING:
        text = chance.choice(_TEXTS)
        return text.encode() if field.type == field.TYPE_BYTES else text
    if kind == field.CPPTYPE_BOOL:
        return chance.random() < 0.5
    number = chance.choice(_NUMBERS)
    if kind in (field.CPPTYPE_DOUBLE, field.CPPTYPE_FLOAT):
        return chance.choice([float(number), math.nan, math.inf])
    if kind in (field.CPPTYPE_INT32, field.CPPTYPE_UINT32):
        number %= 2**31
    return abs(number) % 2**63 if kind == field.CPPTYPE_UINT64 else number
