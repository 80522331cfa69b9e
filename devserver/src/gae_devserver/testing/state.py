"""What the State API shows, as typed values."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class Task:
    """A task that waits in a queue."""

    queue: str
    name: str
    method: str
    """The HTTP method."""
    url: str
    """The path to which the task is sent, with its query string."""
    due_in: float
    """Seconds of the server's clock; negative for a task that is late."""
    retry_count: int
    headers: dict[str, str] = field(default_factory=dict)
    """The task's own headers; the names are in lower case."""
    payload: bytes = b""
    function: str | None = None
    """The deferred function, such as `tasks.send_mail`."""
    service: str = ""
    """The service that gets the task; "" for a URL, or if it does not run here."""

    @classmethod
    def from_json(cls, queue: str, shown: Mapping[str, Any], **more: Any) -> Self:
        """Return a task of the State API, shown with headers and payload."""
        return cls(
            queue=queue,
            name=shown["name"],
            method=shown["method"],
            url=shown["url"] or "",
            due_in=shown["due_in"],
            retry_count=shown["retry_count"],
            headers={name.lower(): value for name, value in shown["headers"]},
            payload=base64.b64decode(shown["payload"]),
            function=shown["function"],
            service=shown["service"],
            **more,
        )


@dataclass(frozen=True)
class TaskRun(Task):
    """A task that ran, as it was before."""

    status: int = 0
    """The status of the app's answer; 0 if there was none."""


@dataclass(frozen=True)
class Entity:
    """An entity of the datastore."""

    key: tuple[tuple[str, str | int], ...]
    """Pairs of kind and ID from the root to the entity, such as (("Counter", "a"),)."""
    properties: dict[str, Any]
    """JSON values and bytes; others, such as dates and keys, are shown as text."""
    urlsafe: str
    """The key as the SDK encodes it in URLs."""

    @property
    def id(self) -> str | int:
        """The last ID of the key: a name, or a number."""
        return self.key[-1][1]

    @classmethod
    def from_json(cls, shown: Mapping[str, Any]) -> Self:
        """Return an entity of the State API."""
        key = tuple((kind, id_or_name) for kind, id_or_name in shown["key"])
        return cls(key, _with_bytes(shown["properties"]), shown["urlsafe"])


def _with_bytes(shown: Any) -> Any:
    """Return properties with bytes where the State API shows them in base64."""
    match shown:
        case {"base64": str() as encoded, **others} if not others:
            return base64.b64decode(encoded)
        case dict():
            return {name: _with_bytes(value) for name, value in shown.items()}
        case list():
            return [_with_bytes(value) for value in shown]
    return shown


@dataclass(frozen=True)
class Blob:
    """An uploaded file."""

    key: str
    filename: str
    content_type: str
    size: int
    md5_hash: str
    """Hexadecimal."""
    gs_object_name: str | None
    """The name of the object, if the upload named a bucket."""

    @classmethod
    def from_json(cls, shown: Mapping[str, Any]) -> Self:
        """Return a blob of the State API."""
        return cls(**{name: shown[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Attachment:
    """A file of a mail."""

    name: str
    type: str
    content: bytes


@dataclass(frozen=True)
class Mail:
    """A mail that the app has sent."""

    sender: str
    to: list[str]
    cc: list[str]
    bcc: list[str]
    reply_to: str | None
    subject: str
    body: str | None
    """The text; None: there is only HTML."""
    html: str | None
    attachments: list[Attachment]
    to_admins: bool
    """Whether it is for the project's administrators; then there is no `to`."""

    @classmethod
    def from_json(cls, shown: Mapping[str, Any]) -> Self:
        """Return a mail of the State API, shown with the content of its files."""
        same = ("to", "cc", "bcc", "reply_to", "subject", "body", "html", "to_admins")
        attachments = [
            Attachment(file["name"], file["type"], base64.b64decode(file["content"]))
            for file in shown["attachments"]
        ]
        fields = {name: shown[name] for name in same}
        return cls(sender=shown["from"], attachments=attachments, **fields)


@dataclass(frozen=True)
class Index:
    """A composite index of the datastore."""

    kind: str
    ancestor: bool
    properties: tuple[tuple[str, str], ...]
    """Pairs of a property's name and "asc" or "desc"."""

    @classmethod
    def from_json(cls, shown: Mapping[str, Any]) -> Self:
        """Return an index of the State API."""
        properties = ((item["name"], item["direction"]) for item in shown["properties"])
        return cls(shown["kind"], shown["ancestor"], tuple(properties))


@dataclass(frozen=True)
class Failure:
    """An exception that the app did not catch, or has logged."""

    type: str
    """The name of its class, such as "ValueError"."""
    message: str
    function: str
    """The innermost function of the app."""
    file: str
    """Its file, relative to the app's folder."""
    line: int
    traceback: str
    """Without the frames of the SDK and of the web server."""
    method: str
    """The HTTP method of the request in which it was raised."""
    target: str
    """The path of the request, with its query string."""
    task: str | None
    """The name of the task; None: this was another request."""

    @classmethod
    def from_json(cls, shown: Mapping[str, Any]) -> Self:
        """Return the last failure of the State API."""
        names = ("type", "message", "function", "file", "line", "traceback")
        return cls(
            **{name: shown["failure"][name] for name in names},
            method=shown["request"]["method"],
            target=shown["request"]["target"],
            task=shown["task"] and shown["task"]["name"],
        )


class StateApiError(RuntimeError):
    """The State API refused a call. The text gives the reason."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
