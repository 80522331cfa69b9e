"""The call of a deferred task, as the State API and its pages show it."""

import base64
import binascii
from typing import Any, Protocol

from google.appengine.datastore import entity_bytes_pb2
from google.protobuf.message import DecodeError

from gae_devserver.datastore.encoding import Path, path_of
from gae_devserver.datastore.property_index import Row
from gae_devserver.tasks.deferred_calls import Call, read_call
from gae_devserver.tasks.pickle_texts import reference_text
from gae_devserver.tasks.pickles import UnreadableError

_MAX_KEY = 2000
_DEFERRED_PATH = b"/_ah/queue/deferred"
# protocol 2 and newer, and protocol 0 or 1 of a tuple that begins with a function
_PICKLES = (b"\x80", b"(c")
_NO_CALL: dict[str, Any] = {
    "call": None,
    "arguments": None,
    "object": None,
    "stored_at": None,
    "unreadable": None,
}


class Entities(Protocol):
    """Where the SDK stores the calls that are too large for a task."""

    def row(self, namespace: str, path: Path) -> Row | None:
        """Return the entity with a key."""


class Calls:
    """Reads the calls of tasks, never by loading a pickle."""

    def __init__(self, entities: Entities) -> None:
        self._entities = entities

    def describe(self, task: Any) -> dict[str, Any]:
        """Return the call of a task; its values are None for another task."""
        body = task.body
        try:
            call = read_call(body)
            if call.stored_at is None:
                return _described(call, None)
            return self._stored(call, call.stored_at)
        except UnreadableError as error:
            is_deferred = task.url.startswith(_DEFERRED_PATH)
            if not is_deferred and not body.startswith(_PICKLES):
                return _NO_CALL
            text = f"The payload is not what defer() makes: {error}."
            return _NO_CALL | {"unreadable": text}

    def is_lost(self, task: Any) -> bool:
        """Return whether a task needs a stored call that is no longer there."""
        try:
            stored_at = read_call(task.body).stored_at
        except UnreadableError:
            return False
        return stored_at is not None and self._payload(_reference(stored_at)) is None

    def _stored(self, call: Call, stored_at: str) -> dict[str, Any]:
        reference = _reference(stored_at)
        where = stored_at[:_MAX_KEY] if reference is None else reference_text(reference)
        payload = self._payload(reference)
        if payload is None:
            text = "The entity that has the call is no longer there."
            return _described(call, where) | {"unreadable": text}
        try:
            return _described(read_call(payload), where)
        except UnreadableError as error:
            text = f"The stored call cannot be read: {error}."
            return _described(call, where) | {"unreadable": text}

    def _payload(self, reference: Any) -> bytes | None:
        """Return the pickle in an entity, or None."""
        if reference is None:
            return None
        try:
            path = path_of(reference.path.element)
        except ValueError:
            return None
        row = self._entities.row(reference.name_space, path) if path else None
        if row is None:
            return None
        entity = row.record.entity
        for value in (*entity.property, *entity.raw_property):
            if value.name == "data":
                return bytes(value.value.stringValue)
        return None


def _reference(key: str) -> Any:
    """Return the key that is encoded in a text, or None."""
    if len(key) > _MAX_KEY:
        return None
    try:
        data = base64.urlsafe_b64decode(key + "=" * (-len(key) % 4))
        return entity_bytes_pb2.Reference.FromString(data)
    except (binascii.Error, ValueError, DecodeError):
        return None


def _described(call: Call, stored_at: str | None) -> dict[str, Any]:
    return {
        "call": call.text,
        "arguments": list(call.arguments),
        "object": call.owner,
        "stored_at": stored_at,
        "unreadable": None,
    }
