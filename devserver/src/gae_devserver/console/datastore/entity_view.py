"""How the console shows the values of one entity. It loads no pickle."""

import json
import zlib
from dataclasses import dataclass
from typing import Any, NamedTuple

from gae_devserver.console.datastore.entity_json import plain_value
from gae_devserver.console.datastore.typed_decoding import Typed
from gae_devserver.console.frame.formats import short
from gae_devserver.datastore.encoding import Stored
from gae_devserver.datastore_v1.entity_reader import COMPRESSED_URI
from gae_devserver.tasks.pickle_texts import text_of
from gae_devserver.tasks.pickles import UnreadableError, read_pickle

SHOWN_CHARACTERS = 5000
_PREVIEW_BYTES = 100_000
_PICKLE_OPCODES = 6000
_LINE = 80


class _Readable(NamedTuple):
    """What people can read of a value."""

    text: str
    note: str = ""
    is_whole: bool = True


@dataclass(frozen=True)
class ShownProperty:
    """A property as the page shows it."""

    name: str
    type: str
    indexed: str
    text: str
    note: str
    size: int
    is_whole: bool
    """Whether the text is the whole value; otherwise it can be downloaded."""
    link: str
    """The urlsafe key of another entity, or ""."""


def show_property(name: str, typed: Typed, stored: list[Stored]) -> ShownProperty:
    """Return what the page shows of a property."""
    readable = _read(typed, stored)
    states = {indexed for indexed, _ in stored}
    return ShownProperty(
        name=name,
        type=_type_of(typed),
        indexed="some" if len(states) > 1 else "yes" if states == {True} else "no",
        text=readable.text[:SHOWN_CHARACTERS],
        note=readable.note,
        size=sum(item.value.ByteSize() for _, item in stored),
        is_whole=readable.is_whole and len(readable.text) <= SHOWN_CHARACTERS,
        link=plain_value(stored[0][1]) if typed["type"] == "key" else "",
    )


def _type_of(typed: Typed) -> str:
    if typed["type"] != "list":
        return str(typed["type"])
    types = sorted({part["type"] for part in typed["value"]})
    return f"list of {len(types and typed['value'])} {' and '.join(types)}".rstrip()


def _read(typed: Typed, stored: list[Stored]) -> _Readable:
    value, first = typed["value"], stored[0][1]
    match typed["type"]:
        case "bytes":
            return _read_bytes(first)
        case "text" | "datetime":
            return _Readable(value)
        case "null":
            return _Readable("")
        case "list":
            items = stored if value else []
            return _Readable(_pretty([plain_value(item) for _, item in items]))
        case "raw":
            plain = _pretty([plain_value(item) for _, item in stored])
            return _Readable(plain, "stored in a form that cannot be edited", False)
        case "entity":
            return _Readable(_pretty(plain_value(first)))
    # A large integer and a special float are text.
    return _Readable(value if isinstance(value, str) else _pretty(value))


def _pretty(value: Any) -> str:
    """Return a value as JSON, with line breaks if it is long."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= _LINE:
        return text
    return json.dumps(value, ensure_ascii=False, indent=2)


def _read_bytes(item: Any) -> _Readable:
    """Return what can be read of bytes, and what they are."""
    data = item.value.stringValue
    note, is_whole = f"{len(data):,} bytes", True
    if item.meaning_uri == COMPRESSED_URI:
        is_whole = False
        try:
            data = zlib.decompressobj().decompress(data, _PREVIEW_BYTES)
        except zlib.error:
            return _Readable("", f"{note}, which cannot be decompressed", False)
        note += ", compressed"
    if data[:1] == b"\x80":
        try:
            read = read_pickle(data, _PICKLE_OPCODES)
            text = "\n".join(text_of(one, SHOWN_CHARACTERS) for one in read.values)
            return _Readable(text, f"{note}, a pickle, read without loading it", False)
        except UnreadableError:
            pass
    try:
        text = data[:_PREVIEW_BYTES].decode()
    except UnicodeDecodeError as error:
        if error.start < _PREVIEW_BYTES - 4:
            first = data[:256]
            note += f"; the first {len(first)} in hexadecimal"
            return _Readable(first.hex(" "), note, False)
        # the limit has cut a character
        text = data[: error.start].decode()
    return _Readable(text, f"{note}, shown as text", is_whole)


def cell(value: Any) -> str:
    """Return a value of an entity in JSON as a short text for a table."""
    if isinstance(value, str):
        text = value
    elif isinstance(value, dict) and value.keys() == {"base64"}:
        size = len(value["base64"].rstrip("=")) * 3 // 4
        text = f"bytes ({size:,})"
    elif value is None:
        text = "null"
    else:
        text = json.dumps(value, ensure_ascii=False)
    return short(text, _LINE)
