"""Reads the filters of a question for entities, such as `count >= 5`."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.appengine.datastore import entity_bytes_pb2 as entity_pb

from gae_devserver.console.datastore.typed_decoding import decode_group
from gae_devserver.console.datastore.typed_keys import (
    TypedError,
    decode_key,
    encode_key,
    key_in,
    shown,
)
from gae_devserver.datastore.encoding import KEY_PROPERTY, ValueKey, path_of, value_key

OPERATORS = ("=", "!=", "<", "<=", ">", ">=")
FILTER_TYPES = ("text", "number", "boolean", "datetime", "null", "key", "bytes")
_FILTER = re.compile(
    r'\s*(?P<name>"(?:[^"\\]|\\.)*"|[^\s"=<>!]+)\s*(?P<operator>[<>!]=|[=<>])'
    r"\s*(?P<literal>.*?)\s*",
    re.DOTALL,
)
_CALL = re.compile(r"(datetime|key|bytes)\((.*)\)", re.DOTALL)
_PLAIN_NAME = re.compile(r'[^\s"=<>!]+')


@dataclass(frozen=True)
class Filter:
    """One condition on a property, or on the key."""

    name: str
    operator: str
    type: str
    text: str
    """The value as it was typed."""
    value: ValueKey
    """What it is compared with; for the key, its path."""

    def __str__(self) -> str:
        """Return the filter as a query string has it."""
        name = self.name if _PLAIN_NAME.fullmatch(self.name) else json.dumps(self.name)
        literal = self.text
        if self.type == "text":
            literal = json.dumps(self.text, ensure_ascii=False)
        elif self.type in ("datetime", "key", "bytes"):
            literal = f"{self.type}({self.text})"
        return f"{name} {self.operator} {literal}"


def make_filter(
    name: str, operator: str, kind: str, text: str, app_id: str, namespace: str
) -> Filter:
    """Return a filter of the parts that a form sends.

    Raises:
        TypedError: one of them is not valid.
    """
    if operator not in OPERATORS:
        raise TypedError(f"there is no operator {shown(operator)}")
    if name == "key":
        name = KEY_PROPERTY
    if name == KEY_PROPERTY:
        path = _path(text, app_id, namespace)
        return Filter(name, operator, "key", text, path)
    typed: dict[str, Any] = {"type": kind, "value": text}
    match kind:
        case "number":
            text = text.strip()
            whole = re.fullmatch(r"[+-]?[0-9]+", text)
            typed["type"] = "integer" if whole else "float"
        case "boolean":
            text = text.strip().lower()
            if text not in ("true", "false"):
                raise TypedError(f"{shown(text)} is neither true nor false")
            typed["value"] = text == "true"
        case "null":
            text, typed["value"] = "null", None
        case "key":
            typed["value"] = _json_or_text(text)
        case "text" | "datetime" | "bytes":
            pass
        case _:
            raise TypedError(f"a filter has no type {shown(kind)}")
    ((_, item),) = decode_group(name, typed, app_id)
    return Filter(name, operator, kind, text, value_key(item.value))


def parse_filter(text: str, app_id: str, namespace: str) -> Filter:
    """Return the filter in a text.

    Raises:
        TypedError: there is none.
    """
    match = _FILTER.fullmatch(text)
    if match is None:
        raise TypedError(f'{shown(text)} is no filter such as count >= 5 or name = "a"')
    name, literal = match["name"], match["literal"]
    if name.startswith('"'):
        name = _string(name)
    kind, value = _literal(literal)
    return make_filter(name, match["operator"], kind, value, app_id, namespace)


def _literal(literal: str) -> tuple[str, str]:
    if call := _CALL.fullmatch(literal):
        kind, value = call.groups()
        return kind, _string(value) if value.startswith('"') else value
    if literal.startswith('"'):
        return "text", _string(literal)
    if literal in ("true", "false"):
        return "boolean", literal
    if literal == "null":
        return "null", ""
    try:
        float(literal)
    except ValueError:
        return "text", literal
    return "number", literal


def _string(text: str) -> str:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, str):
        raise TypedError(f"{shown(text)} is no text in quotes")
    return value


def _json_or_text(text: str) -> Any:
    return _json(text) if text.lstrip().startswith("{") else text.strip()


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TypedError(f"{shown(text)} is not valid JSON: {error}") from None


def _path(text: str, app_id: str, namespace: str) -> Any:
    """Return the path of a key in a text, which must be in the namespace."""
    key: Any
    try:
        if text.lstrip().startswith(("{", "[")):
            value = _json(text)
            if isinstance(value, list):
                value = {"namespace": namespace, "path": value}
            key = entity_pb.Reference()
            decode_key(value, app_id, key, key.path.element)
        else:
            key = key_in(text.strip())
    except ValueError as error:
        raise TypedError(f"the key {shown(text)}: {error}") from None
    if key.name_space != namespace:
        raise TypedError(f"the key {shown(text)} is of another namespace")
    encode_key(key, key.path.element, app_id)
    return path_of(key.path.element)


def filters_in(query: Any, app_id: str, namespace: str) -> list[Filter]:
    """Return the filters of a query string, as text or by the parts of a form.

    Raises:
        TypedError: one of them is not valid.
    """
    filters = [
        parse_filter(text, app_id, namespace) for text in query.getall("filter", [])
    ]
    parts = [query.getall(name, []) for name in ("property", "op", "type", "value")]
    for name, operator, kind, text in zip(*parts, strict=False):
        if name:
            one = make_filter(name, operator, kind, text, app_id, namespace)
            filters.append(one)
    return filters


def by_id(text: str, kind: str, app_id: str, namespace: str) -> Filter | None:
    """Return the filter for one key, which a text names by its id, name or urlsafe.

    Raises:
        TypedError: it is no id.
    """
    if not text:
        return None
    path: Sequence[Any] = [
        [kind, int(text) if re.fullmatch("[0-9]{1,19}", text) else text]
    ]
    try:
        if key_in(text).path.element[-1].type == kind:
            return make_filter("key", "=", "key", text, app_id, namespace)
    except TypedError:
        pass
    return make_filter("key", "=", "key", json.dumps(path), app_id, namespace)
