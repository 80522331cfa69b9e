"""Serves the RPCs of Cloud Tasks as JSON over HTTP, for the transport "rest"."""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from gae_devserver.rpc import rest
from gae_devserver.rpc.errors import InvalidArgumentError, UnimplementedError
from gae_devserver.rpc.method import Method

_LOCATION = "projects/*/locations/*"
_QUEUE = f"{_LOCATION}/queues/*"
_TASK = f"{_QUEUE}/tasks/*"

_ANY_PATH = re.compile(r"/(v2\w*)/(projects/.*)")


@dataclass(frozen=True)
class Route:
    """The HTTP request of an RPC, as its option google.api.http has it.

    The packages from PyPI have no such options, only the messages.
    """

    rpc: str
    method: str
    field: str
    """The field of the request that the path fills."""
    resource: str
    after: str = ""
    """What follows the resource in the path."""
    body: str | None = None
    """The field that the body is; "*": the whole request; None: there is no body."""

    def match(self, method: str, path: str) -> str | None:
        """Return the value of the field; None: this is the path of another RPC."""
        pattern = re.escape(self.resource).replace(r"\*", "[^/]+")
        found = re.fullmatch(f"({pattern}){re.escape(self.after)}", path)
        return found[1] if found and method == self.method else None


# The more specific ones come first: a "*" includes what follows a colon.
_ROUTES = (
    Route("BatchCreateTasks", "POST", "parent", _QUEUE, "/tasks:batchCreate", "*"),
    Route("BatchDeleteTasks", "POST", "parent", _QUEUE, "/tasks:batchDelete", "*"),
    Route("CreateQueue", "POST", "parent", _LOCATION, "/queues", "queue"),
    Route("CreateTask", "POST", "parent", _QUEUE, "/tasks", "*"),
    Route("DeleteQueue", "DELETE", "name", _QUEUE),
    Route("DeleteTask", "DELETE", "name", _TASK),
    Route("GetQueue", "GET", "name", _QUEUE),
    Route("GetTask", "GET", "name", _TASK),
    Route("ListQueues", "GET", "parent", _LOCATION, "/queues"),
    Route("ListTasks", "GET", "parent", _QUEUE, "/tasks"),
    Route("PauseQueue", "POST", "name", _QUEUE, ":pause", "*"),
    Route("PurgeQueue", "POST", "name", _QUEUE, ":purge", "*"),
    Route("ResumeQueue", "POST", "name", _QUEUE, ":resume", "*"),
    Route("RunTask", "POST", "name", _TASK, ":run", "*"),
    Route("UpdateQueue", "PATCH", "queue.name", _QUEUE, "", "queue"),
)


class Rest:
    """Answers the requests whose path is one of the API."""

    def __init__(self, rpcs: Mapping[str, Method]) -> None:
        """Serve RPCs by their full names, as `GrpcPort` has them."""
        self._rpcs = rpcs

    async def answer(self, request: web.BaseRequest) -> web.Response | None:
        """Return the answer to a request; None: it asks for something else."""
        found = _ANY_PATH.fullmatch(request.path)
        if found is None:
            return None
        return await rest.answer(
            request, functools.partial(self._call, request, found[1], found[2])
        )

    async def _call(self, request: web.BaseRequest, version: str, path: str) -> Any:
        method, fields = await self._read(request, version, path)
        message = rest.to_message(fields, method.request_class)
        return await rest.carry_out(request, method, message)

    async def _read(
        self, request: web.BaseRequest, version: str, path: str
    ) -> tuple[Method, dict[str, Any]]:
        """Return the RPC, and the JSON of its request."""
        for route in _ROUTES:
            name = f"google.cloud.tasks.{version}.CloudTasks/{route.rpc}"
            resource = route.match(request.method, path)
            if resource is not None and name in self._rpcs:
                break
        else:
            what = f"{request.method} {request.path}"
            raise UnimplementedError(f"the dev server does not implement {what}")
        method = self._rpcs[name]
        fields: dict[str, Any] = {}
        for key in request.query:
            if key not in rest.SYSTEM_PARAMETERS:
                _set(fields, key, _value(key, request.query.getall(key)))
        if route.body is not None:
            content = await rest.read_json(request)
            fields |= content if route.body == "*" else {route.body: content}
        _set(fields, route.field, resource)
        return method, fields


def _value(key: str, texts: list[str]) -> Any:
    if key.lower().endswith("mask"):
        # a list of field masks; unlike Google, the parser takes only camelCase
        return re.sub(r"_([a-z])", lambda match: match[1].upper(), ",".join(texts))
    return texts if len(texts) > 1 else texts[0]


def _set(fields: dict[str, Any], path: str, value: Any) -> None:
    """Set a field, such as "name", or one of a message in a field: "queue.name"."""
    *parents, last = path.split(".")
    for parent in parents:
        inner = fields.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise InvalidArgumentError(f"{path} is not a field.")
        fields = inner
    fields[last] = value
