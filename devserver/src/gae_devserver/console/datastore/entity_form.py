"""The fields of the form that edits an entity: one row for each property.

A row that comes back as it was sent keeps what is stored, to the last bit.
"""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gae_devserver.console.datastore.typed_decoding import TYPES, Typed, bytes_in
from gae_devserver.console.datastore.typed_keys import (
    TypedError,
    integer_in,
    shown,
    text_in,
)
from gae_devserver.console.frame import formats

SAME = "as it is"
"""The type of a row whose value is too long or too odd for a field."""
BYTES_AS_TEXT = "bytes (as text)"
FORM_TYPES = tuple(
    part
    for name in TYPES
    for part in ((name, BYTES_AS_TEXT) if name == "bytes" else (name,))
)
NEW_ROWS = 8
_MAX_FIELD = 20_000
_TEXT = 15
"""The meaning of a text that NDB does not index."""
_SIMPLE: dict[str, type] = {
    "text": str,
    "integer": int,
    "float": float,
    "boolean": bool,
}


@dataclass(frozen=True)
class FormRow:
    """One property as the form has it."""

    name: str
    type: str
    value: str
    indexed: bool


def rows_of(properties: Iterable[tuple[str, Typed]]) -> list[FormRow]:
    """Return the rows of a form; a property whose name HTML cannot hold has none."""
    return [row_of(*one) for one in properties if _can_be_typed(one[0])]


def row_of(name: str, typed: Typed) -> FormRow:
    """Return the row of a property."""
    kind, value = typed["type"], typed["value"]
    indexed = typed.get("indexed", False)
    if kind == "list" and value:
        indexed = any(part["indexed"] for part in value)
    row = FormRow(name, SAME, "", indexed)
    if kind == "raw":
        return row
    if kind == "bytes":
        kind, text = _bytes_field(value)
    else:
        text = _text_of(kind, value, indexed)
    # HTML cannot hold every character, and normalizes the ends of lines.
    if len(text) > _MAX_FIELD or not _can_be_typed(text):
        return row
    return FormRow(name, kind, text, indexed)


def _bytes_field(value: str) -> tuple[str, str]:
    try:
        text = bytes_in(value).decode()
    except UnicodeDecodeError:
        return "bytes", value
    return (BYTES_AS_TEXT, text) if text and _can_be_typed(text) else ("bytes", value)


def _can_be_typed(text: str) -> bool:
    rest = text.replace("\r\n", "")
    has_one_end = "\r" not in rest and (rest == text or "\n" not in rest)
    return has_one_end and formats.visible(text) == text.encode()


def _text_of(kind: str, value: Any, indexed: bool) -> str:
    match kind:
        case "null":
            return ""
        case "boolean":
            return "true" if value else "false"
        case "list":
            return _dumps([_short(part, indexed) for part in value])
        case "key" | "geopoint" | "user" | "entity":
            return _dumps(value)
    return str(value)


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)


def _short(part: Typed, indexed: bool) -> Any:
    """Return a value of a list as itself if the row says the rest."""
    rest = {name: value for name, value in part.items() if name != "indexed"}
    kind, value = part["type"], part["value"]
    if part["indexed"] == indexed:
        if rest.keys() == {"type", "value"} and type(value) is _SIMPLE.get(kind):
            return value
        return rest
    return part


def properties_in(
    fields: Mapping[str, Any], before: Mapping[str, Typed]
) -> dict[str, Typed]:
    """Return the properties that a form asks for; those without a row stay.

    Args:
        fields: the fields of the form.
        before: the properties that are stored.

    Raises:
        TypedError: a row is not valid.
    """
    properties = dict(before)
    for row, is_new in _rows_in(fields):
        if is_new and row.name in properties:
            raise TypedError(f"{row.name}: there is such a property already")
        try:
            properties[row.name] = _typed_of(row, before.get(row.name))
        except TypedError as error:
            raise TypedError(f"{row.name}: {error}") from None
    for name in before:
        if fields.get(f"remove:{name}") is True:
            del properties[name]
    return properties


def _rows_in(fields: Mapping[str, Any]) -> Iterator[tuple[FormRow, bool]]:
    """Yield the rows that stay, and whether each is new."""
    for field, kind in fields.items():
        start, _, name = field.partition(":")
        if start != "type" or fields.get(f"remove:{name}") is True:
            continue
        is_new = f"name:{name}" in fields
        title = str(fields[f"name:{name}"]) if is_new else name
        if text_in(title, "the name of a property"):
            value = fields.get(f"value:{name}", "")
            indexed = fields.get(f"indexed:{name}") is True
            yield FormRow(title, str(kind), str(value), indexed), is_new


def _typed_of(row: FormRow, stored: Typed | None) -> Typed:
    before = None if stored is None else row_of(row.name, stored)
    if row.type == SAME:
        if stored is None:
            raise TypedError("there is no such property any more; reload the page")
        return stored
    value = row.value.replace("\r\n", "\n")
    if stored is None or before is None:
        return _new(row, value)
    same = before.value.replace("\r\n", "\n") == value
    if same and (row.type, row.indexed) == (before.type, before.indexed):
        return stored
    if "\r\n" in before.value:
        value = value.replace("\n", "\r\n")
    typed = _new(row, value)
    if typed["type"] == stored["type"] != "list":
        for name in ("meaning", "meaning_uri"):
            is_text = name == "meaning" and stored.get(name) == _TEXT
            if name in stored and not (is_text and row.indexed):
                typed[name] = stored[name]
    return typed


def _new(row: FormRow, text: str) -> Typed:
    typed: Typed = {"type": row.type, "value": text, "indexed": row.indexed}
    match row.type:
        case "null":
            typed["value"] = None
        case "boolean":
            if text.strip().lower() not in ("true", "false"):
                raise TypedError(f"{shown(text)} is neither true nor false")
            typed["value"] = text.strip().lower() == "true"
        case "integer":
            typed["value"] = integer_in(text)
        case _ if row.type == BYTES_AS_TEXT:
            typed["type"] = "bytes"
            typed["value"] = base64.b64encode(text_in(text).encode()).decode()
        case "key" | "geopoint" | "user" | "entity" | "list":
            typed["value"] = _json_in(text, row)
            if row.type == "list":
                typed["value"] = [_whole(part, row.indexed) for part in typed["value"]]
    return typed


def _json_in(text: str, row: FormRow) -> Any:
    # A key may also be typed as its urlsafe text.
    if row.type == "key" and not text.lstrip().startswith("{"):
        return text.strip()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TypedError(f"the value is not valid JSON: {error}") from None
    if row.type == "list" and not isinstance(value, list):
        raise TypedError('the value of a list is JSON such as ["a", "b"]')
    return value


def _whole(part: Any, indexed: bool) -> Typed:
    if part is None:
        return {"type": "null", "value": None, "indexed": indexed}
    for kind, python_type in _SIMPLE.items():
        if type(part) is python_type:
            return {"type": kind, "value": part, "indexed": indexed}
    if not isinstance(part, dict):
        raise TypedError(f"a list has no value such as {shown(part)}")
    return {"indexed": indexed, **part}
