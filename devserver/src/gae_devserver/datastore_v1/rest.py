"""Serves the Datastore over HTTP/1.1, for clients that run without gRPC.

The paths are those of Google's emulators. Unlike these, this server refuses web pages.
"""

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import hdrs, web

from gae_devserver.rpc import rest
from gae_devserver.rpc.errors import check
from gae_devserver.rpc.method import Method

_RPC_PATH = re.compile(r"/v1/projects/([^/]+):(\w+)")


class DatastoreRest:
    """Answers all requests to the port."""

    def __init__(self, rpcs: Mapping[str, Method], reset: Callable[[], object]) -> None:
        """Serve RPCs by their full names, as `GrpcPort` has them.

        `reset` deletes all entities and ends all transactions.
        """
        names = {name: name.rpartition("/")[2] for name in rpcs}
        self._rpcs = {
            name[0].lower() + name[1:]: rpcs[full] for full, name in names.items()
        }
        self._reset = reset

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Return the answer to a request."""
        found = _RPC_PATH.fullmatch(request.path)
        if found and request.method == hdrs.METH_POST and found[2] in self._rpcs:
            project, rpc = found.groups()
            call = functools.partial(self._call, request, project, self._rpcs[rpc])
            return await rest.answer(request, call)
        if rest.is_web_page(request):
            return web.Response(status=403, text="Web pages cannot use this API.\n")
        match request.method, request.path:
            case hdrs.METH_GET | hdrs.METH_HEAD, "/":
                return web.Response(text="Ok\n")
            case hdrs.METH_POST, "/reset":
                self._reset()
                return web.Response(text="Resetting...\n")
        text = (
            "Not Found\n\nThis is the Datastore of the dev server. Send RPCs with POST "
            f"to /v1/projects/PROJECT:RPC, where RPC is {', '.join(self._rpcs)}.\n"
            "POST /reset deletes all entities.\n"
        )
        return web.Response(status=404, text=text)

    async def _call(self, request: web.BaseRequest, project: str, rpc: Method) -> Any:
        message = await rest.read_message(request, rpc.request_class)
        check(
            message.project_id in ("", project),
            f'the project_id "{message.project_id}" of the request is not that of the '
            f'URL, "{project}".',
        )
        message.project_id = project
        return await rest.carry_out(request, rpc, message)
