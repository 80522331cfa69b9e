"""Writes and reads keys in the JSON form of exported entities.

`{"namespace": "n", "path": [["Order", 1], ["Line", "first"]]}`: a number is an id, and
text is a name. What is empty, and the app if it is this one, is left out.
"""

import base64
import binascii
import re
from typing import Any

from google.appengine.datastore import entity_bytes_pb2 as entity_pb
from google.protobuf.message import DecodeError

from gae_devserver.datastore_v1.keys import MAX_NAME_BYTES

SAFE_INTEGER = 2**53 - 1
"""Scripts in browsers read larger numbers inexactly, so they are written as text."""
INT64 = range(-(2**63), 2**63)
EXAMPLE_KEY = '{"path": [["Order", 1]]}'
_FIELDS = {"app": "app", "database": "database_id", "namespace": "name_space"}


class TypedError(ValueError):
    """A JSON form that is none; str() says what is wrong with it."""


def encode_key(reference: Any, elements: Any, app_id: str) -> dict[str, Any]:
    """Return a key.

    Args:
        reference: its app, namespace and database.
        elements: its path; a key in a property has another field for it.
        app_id: the app whose name is left out.

    Raises:
        TypedError: it has text that is not UTF-8.
    """
    key: dict[str, Any] = {}
    for name, field in _FIELDS.items():
        value = getattr(reference, field)
        if value and (name, value) != ("app", app_id):
            key[name] = _checked(value)
    key["path"] = [
        [_checked(element.type), _identifier(element)] for element in elements
    ]
    return key


def _identifier(element: Any) -> Any:
    if element.HasField("name"):
        return _checked(element.name)
    if not element.HasField("id"):
        return None
    number = element.id
    return number if abs(number) <= SAFE_INTEGER else {"id": str(number)}


def _checked(text: Any) -> str:
    # Protocol buffers return text that is not UTF-8 as bytes.
    if isinstance(text, bytes):
        raise TypedError("the key has text that is not UTF-8")
    return str(text)


def decode_key(key: Any, app_id: str, into: Any, elements: Any) -> None:
    """Write a key into an empty message; its last id may be null.

    Raises:
        TypedError: it is no key.
    """
    if isinstance(key, str):
        key = encode_key(own := key_in(key), own.path.element, app_id)
    if not isinstance(key, dict) or not isinstance(key.get("path"), list):
        raise TypedError(f"a key must be an object such as {EXAMPLE_KEY}")
    if unknown := key.keys() - {"path", *_FIELDS}:
        raise TypedError(f"a key has no field {min(unknown)!r}")
    for name, value in {"app": app_id, **key}.items():
        if name == "path" or value in ("", None):
            continue
        setattr(into, _FIELDS[name], text_in(value, f"the {name} of a key"))
    if not 0 < len(key["path"]) <= 100:
        raise TypedError("the path of a key has from 1 to 100 pairs of kind and id")
    for pair in key["path"]:
        _add_element(pair, elements, is_last=pair is key["path"][-1])


def _add_element(pair: Any, elements: Any, *, is_last: bool) -> None:
    match pair:
        case [str() as kind, str() as name] if kind and name:
            element = elements.add(type=text_in(kind, "a kind"))
            element.name = text_in(name, "a name")
            if len(name.encode()) > MAX_NAME_BYTES:
                raise TypedError(f"a name is longer than {MAX_NAME_BYTES} bytes")
        case [str() as kind, None] if kind and is_last:
            elements.add(type=text_in(kind, "a kind"))
        case [str() as kind, {"id": identifier}] | [
            str() as kind,
            int() | float() as identifier,
        ] if kind:
            number = integer_in(identifier)
            if not number:
                raise TypedError("the id of a key is not 0")
            elements.add(type=text_in(kind, "a kind"), id=number)
        case _:
            raise TypedError(
                "each pair of a path is a kind, and an id or a name, as in "
                f"{EXAMPLE_KEY}"
            )


def integer_in(value: Any) -> int:
    """Return an integer of 64 bits, which large ones write as text.

    Raises:
        TypedError: it is none.
    """
    if isinstance(value, str) and re.fullmatch("[+-]?[0-9]{1,19}", value.strip()):
        value = int(value.strip())
    # A script writes 1.0 as 1, and Python the other way round.
    if isinstance(value, float) and value.is_integer() and abs(value) <= SAFE_INTEGER:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value not in INT64:
        raise TypedError(f"{shown(value)} is no integer of 64 bits")
    return value


def text_in(value: Any, what: str = "a text") -> str:
    """Return text that UTF-8 can write.

    Raises:
        TypedError: it is none.
    """
    if not isinstance(value, str):
        raise TypedError(f"{what} is {shown(value)}, not text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise TypedError(f"{what} has half of a character (a surrogate)") from None
    return value


def shown(value: Any) -> str:
    """Return a wrong value for an error message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def key_in(urlsafe: str) -> Any:
    """Return the key in a text that either library has made.

    Raises:
        TypedError: it is none.
    """
    try:
        data = base64.urlsafe_b64decode(urlsafe.encode("ascii") + b"===")
        reference = entity_pb.Reference.FromString(data)
    except (binascii.Error, ValueError, DecodeError):
        raise TypedError(f"{shown(urlsafe)} is no urlsafe key") from None
    if not reference.path.element:
        raise TypedError(f"{shown(urlsafe)} is no urlsafe key")
    return reference
