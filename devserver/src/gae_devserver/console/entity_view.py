"""How the console shows the values of one entity. It loads no pickle."""

import json
import pickletools
import zlib
from dataclasses import dataclass
from typing import Any

from gae_devserver.console.entity_json import plain_value
from gae_devserver.console.typed_values import Stored
from gae_devserver.datastore_v1.entity_reader import COMPRESSED_URI

SHOWN_CHARACTERS = 5000
_PREVIEW_BYTES = 100_000
_PICKLE_PARTS = 200
_CELL = 80


@dataclass(frozen=True)
class ShownProperty:
    """A property as the page shows it."""

    name: str
    type: str
    indexed: str
    text: str
    note: str
    size: int
    is_cut: bool
    """Whether the text is not the whole value, which can be downloaded."""


def show_property(
    name: str, typed: dict[str, Any], stored: list[Stored]
) -> ShownProperty:
    """Return what the page shows of a property."""
    kind, note = typed["type"], ""
    first = stored[0][1]
    if kind == "list":
        text = pretty(
            [plain_value(item) for _, item in stored] if typed["value"] else []
        )
        types = sorted({part["type"] for part in typed["value"]})
        kind = f"list of {len(typed['value'])} {' and '.join(types)}".rstrip()
    elif kind == "bytes":
        text, note = _read_bytes(first)
    elif kind == "text":
        text = typed["value"]
    elif kind == "null":
        text = ""
    elif kind in ("entity", "key", "geopoint", "user"):
        text = pretty(plain_value(first) if kind == "entity" else typed["value"])
    elif kind == "raw":
        text, note = (
            pretty([plain_value(item) for _, item in stored]),
            "stored in a form that cannot be edited",
        )
    else:
        text = str(typed["value"]).lower() if kind == "boolean" else str(typed["value"])
    states = {indexed for indexed, _ in stored}
    size = sum(item.value.ByteSize() for _, item in stored)
    return ShownProperty(
        name=name,
        type=kind,
        indexed="some" if len(states) > 1 else "yes" if states == {True} else "no",
        text=text[:SHOWN_CHARACTERS],
        note=note,
        size=size,
        is_cut=len(text) > SHOWN_CHARACTERS or typed["type"] == "bytes",
    )


def pretty(value: Any) -> str:
    """Return a value as JSON with line breaks."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def _read_bytes(item: Any) -> tuple[str, str]:
    """Return what can be read of bytes, and what they are."""
    data = item.value.stringValue
    note = f"{len(data)} bytes"
    if item.meaning_uri == COMPRESSED_URI:
        try:
            data = zlib.decompressobj().decompress(data, _PREVIEW_BYTES)
        except zlib.error:
            return "", f"{note}, which cannot be decompressed"
        note += ", compressed"
    if data[:1] == b"\x80" and data[-1:] == b".":
        return _read_pickle(
            data
        ), f"{note}, a pickle, which is not loaded; these are its texts and numbers"
    try:
        return data[:_PREVIEW_BYTES].decode(), f"{note}, shown as text"
    except UnicodeDecodeError as error:
        if error.start >= _PREVIEW_BYTES - 4:
            return data[: error.start].decode(), f"{note}, shown as text"
    return data[:256].hex(
        " ", 1
    ), f"{note}; the first {min(len(data), 256)} in hexadecimal"


def _read_pickle(data: bytes) -> str:
    parts: list[str] = []
    try:
        for opcode, value, _ in pickletools.genops(data):
            is_content = "MEMO" not in opcode.name and "PUT" not in opcode.name
            if (
                is_content
                and isinstance(value, str | int | float)
                and opcode.name not in ("PROTO", "FRAME", "BINGET", "LONG_BINGET")
            ):
                parts.append(str(value)[:200])
            if len(parts) >= _PICKLE_PARTS:
                parts.append("...")
                break
    except ValueError:
        parts.append("...")
    return "\n".join(parts)


def cell(value: Any) -> str:
    """Return a value of an entity in JSON as a short text for a table."""
    if isinstance(value, str):
        text = value
    elif isinstance(value, dict) and value.keys() == {"base64"}:
        size = len(value["base64"]) * 3 // 4
        text = f"bytes ({size:,})"
    elif value is None:
        text = "null"
    else:
        text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _CELL else f"{text[:_CELL]}\N{HORIZONTAL ELLIPSIS}"
