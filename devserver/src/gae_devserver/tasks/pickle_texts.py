"""Shows a value of a pickle as Python would write it, cut to a length."""

import datetime
import re
import struct
from collections.abc import Iterable
from typing import Any

from google.appengine.datastore import entity_bytes_pb2
from google.protobuf.message import DecodeError

from gae_devserver.tasks.pickles import Instance, Members, Name, Pairs, Value

# a name that Python can import; another name comes from an unknown pickle, and could
# have control characters, so it is not printed
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)
_MAX_NAME = 200
_MAX_DEPTH = 12
_MAX_BITS = 512
_MAX_ENTITIES = 20
_MAX_ENTITY_BYTES = 2**17
_MAX_KEY_NAME = 1500
_SEARCHED_PAIRS = 100
_MAX_ZONE = 100

_NDB_KEYS = {"google.appengine.ext.ndb.key.Key", "google.cloud.ndb.key.Key"}
_DB_KEY = "google.appengine.api.datastore_types.Key"
_MAKERS = {
    f"{module}.{name}"
    for module in ("copyreg", "copy_reg")
    for name in ("_reconstructor", "__newobj__", "__newobj_ex__")
}
_DATE_FORMATS = {
    "datetime.date": (datetime.date, 4),
    "datetime.time": (datetime.time, 6),
    "datetime.datetime": (datetime.datetime, 10),
}


def checked_name(value: Value) -> str | None:
    """Return the text of a dotted name, or None."""
    if not isinstance(value, Name) or len(value.text) > _MAX_NAME:
        return None
    if not _DOTTED.fullmatch(value.text):
        return None
    return value.text


def class_of(value: Value) -> str | None:
    """Return the dotted name of a class, or of the class of an instance; or None."""
    if not isinstance(value, Instance):
        return checked_name(value)
    name = checked_name(value.made_by)
    if name in _MAKERS:
        arguments = value.arguments
        is_known = isinstance(arguments, tuple | list) and arguments
        return checked_name(arguments[0]) if is_known else None
    return name


def text_of(value: Value, limit: int) -> str:
    """Return a value as Python would write it, in about `limit` characters."""
    writer = _Writer(limit)
    try:
        writer.write(value)
    except _FullError:
        writer.parts.append("…")
    return "".join(writer.parts)


def reference_text(reference: Any) -> str:
    """Return a key of the datastore, an entity_bytes_pb2.Reference."""
    pairs: list[Value] = []
    for element in reference.path.element:
        pairs += (element.type, element.name or element.id)
    return _key_text(pairs, reference.name_space)


def _key_text(pairs: Iterable[Value], namespace: str) -> str:
    parts = [repr(part) for part in pairs]
    if namespace:
        parts.append(f"namespace={namespace!r}")
    return f"Key({', '.join(parts)})"


class _FullError(Exception):
    """The text has reached its limit."""


class _Writer:
    """Writes values; it ends with an error when the text is full.

    Each value writes something. So a value with many references to others, each of
    which has many, takes no longer than one that fills the text.
    """

    def __init__(self, limit: int) -> None:
        self.parts: list[str] = []
        self._left = limit
        self._entities = _MAX_ENTITIES

    def _add(self, text: str) -> None:
        self.parts.append(text[: self._left])
        self._left -= len(text)
        if self._left < 0:
            raise _FullError

    def write(self, value: Value, depth: int = 0) -> None:
        """Write a value."""
        if depth > _MAX_DEPTH:
            self._add("…")
            return
        match value:
            case str() | bytes():
                # a slice, as the whole may be long and written often
                part = value[: self._left + 1]
                self._add(repr(part))
            case int() if value.bit_length() > _MAX_BITS:
                self._add(f"<integer of {value.bit_length()} bits>")
            case None | bool() | int() | float() | bytearray():
                self._add(repr(value))
            case tuple():
                self._series("(", value, ",)" if len(value) == 1 else ")", depth)
            case list():
                self._series("[", value, "]", depth)
            case Pairs(items):
                self._pairs(items, depth)
            case Members(items, frozen):
                self._members(items, depth, frozen=frozen)
            case Instance():
                self._instance(value, depth)
            case _:
                self._add(checked_name(value) or "<?>")

    def _series(self, begin: str, values: Any, end: str, depth: int) -> None:
        self._add(begin)
        for number, value in enumerate(values):
            if number:
                self._add(", ")
            self.write(value, depth + 1)
        self._add(end)

    def _pairs(self, items: Iterable[tuple[Value, Value]], depth: int) -> None:
        self._add("{")
        for number, (key, value) in enumerate(items):
            if number:
                self._add(", ")
            self.write(key, depth + 1)
            self._add(": ")
            self.write(value, depth + 1)
        self._add("}")

    def _members(self, items: Any, depth: int, *, frozen: bool) -> None:
        name = "frozenset" if frozen else "set"
        if not items:
            self._add(f"{name}()")
        elif frozen:
            self._series("frozenset({", items, "})", depth)
        else:
            self._series("{", items, "}", depth)

    def _instance(self, value: Instance, depth: int) -> None:
        name = class_of(value)
        special = self._special(value, name)
        if special is not None:
            self._add(special)
            return
        arguments = value.arguments
        match name, arguments:
            case "_codecs.encode", (str(text), *_):
                self.write(_bytes_of(text[: self._left + 1]), depth)
                return
            case (("builtins.set" | "__builtin__.set"), (list(items),)):
                self._members(items, depth, frozen=False)
                return
            case (("builtins.frozenset" | "__builtin__.frozenset"), (list(items),)):
                self._members(items, depth, frozen=True)
                return
            case (("builtins.bytes" | "__builtin__.bytes"), ()):
                self._add("b''")
                return
        if name is None:
            self._add("<?>")
        elif value.state is not None or checked_name(value.made_by) in _MAKERS:
            self._add(f"<{name} …>")
        elif value.items:
            self._series(f"{name}([", value.items, "])", depth)
        elif value.pairs:
            self._add(f"{name}(")
            self._pairs(value.pairs, depth)
            self._add(")")
        elif isinstance(arguments, tuple | list) and arguments:
            self._series(f"{name}(", arguments, ")", depth)
        else:
            self._add(f"<{name} …>")

    def _special(self, value: Instance, name: str | None) -> str | None:
        """Return the text of a date, a key or an entity; or None."""
        if name in _DATE_FORMATS:
            return _date(value.arguments, name)
        if (key := _key(value, name)) is not None:
            return key
        if value.state is None or name is None:
            return None
        state = _plain(value.state)
        if isinstance(state, bytes) and len(state) < _MAX_ENTITY_BYTES:
            # an entity of bundled NDB
            self._entities -= 1
            key = _entity_key(state) if self._entities >= 0 else None
        else:
            # one of Cloud NDB or db
            owner = _get(state, "_entity_key") or _get(state, "_key")
            is_key = isinstance(owner, Instance)
            key = _key(owner, class_of(owner)) if is_key else None
        return f"{name}(key={key})" if key else None


def _key(value: Instance, name: str | None) -> str | None:
    """Return the text of a key of bundled NDB, Cloud NDB or db; or None."""
    match name, value.arguments, value.state:
        case _, (Pairs() as key,), _ if name in _NDB_KEYS:
            pass
        case _, _, (Pairs() as key,) if name in _NDB_KEYS:
            pass
        case _ if name == _DB_KEY:
            reference = _get(value.state, "_Key__reference")
            if isinstance(reference, Instance):
                data = _plain(_get(reference.state, "serialized"))
                return _parsed_key(data) if isinstance(data, bytes) else None
            return None
        case _:
            return None
    pairs = _get(key, "pairs")
    if not isinstance(pairs, tuple | list):
        return None
    parts: list[Value] = []
    for pair in pairs[:100]:
        if not isinstance(pair, tuple | list):
            return None
        parts += map(_text, pair[:2])
    namespace = _text(_get(key, "namespace"))
    return _key_text(parts, namespace if isinstance(namespace, str) else "")


def _parsed_key(data: bytes) -> str | None:
    try:
        return reference_text(entity_bytes_pb2.Reference.FromString(data))
    except DecodeError:
        return None


def _entity_key(data: bytes) -> str | None:
    try:
        entity = entity_bytes_pb2.EntityProto.FromString(data)
    except DecodeError:
        return None
    return reference_text(entity.key) if entity.key.path.element else None


def _get(value: Value, wanted: str) -> Value:
    """Return what a dict has for a key, or None."""
    if not isinstance(value, Pairs):
        return None
    for key, found in value.items[:_SEARCHED_PAIRS]:
        if key == wanted:
            return found
    return None


def _plain(value: Value) -> Value:
    """Return bytes that a pickle before protocol 3 has as text; others as they are."""
    if isinstance(value, Instance) and class_of(value) == "_codecs.encode":
        match value.arguments:
            case (str(text), *_) if len(text) < _MAX_ENTITY_BYTES:
                return _bytes_of(text)
    return value


def _bytes_of(text: str) -> bytes:
    return text.encode("latin-1", errors="replace")


def _text(value: Value) -> Value:
    """Return an ID, or a name, of a key."""
    plain = _plain(value)
    if isinstance(plain, bytes):
        return plain[:_MAX_KEY_NAME].decode(errors="replace")
    if isinstance(plain, str):
        return plain[:_MAX_KEY_NAME]
    is_id = isinstance(plain, int) and plain.bit_length() <= _MAX_BITS
    return plain if is_id else None


def _date(arguments: Value, name: str) -> str | None:
    """Return a date or time as Python writes it, or None."""
    cls, size = _DATE_FORMATS[name]
    if not isinstance(arguments, tuple | list) or not arguments:
        return None
    data, *zone = map(_plain, arguments[:2])
    data = _bytes_of(data) if isinstance(data, str) else data
    if not isinstance(data, bytes) or len(data) != size:
        return None
    date: list[int] = []
    time: list[int] = []
    if size != 6:
        year, *rest = struct.unpack(">HBB", data[:4])
        date = [year, rest[0] & 0x7F, rest[1]]
    if size != 4:
        hour, *rest = data[-6:]
        # the first bit says which of two equal times it is
        time = [hour & 0x7F, *rest[:2], int.from_bytes(rest[2:], "big")]
    try:
        moment = cls(*date, *time)
    except ValueError:
        return None
    text = repr(moment)
    return f"{text[:-1]}, tzinfo={text_of(zone[0], _MAX_ZONE)})" if zone else text
