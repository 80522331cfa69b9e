"""gRPC's own server, on a Unix socket that only this user can reach."""

import functools
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import grpc.aio

from gae_devserver.memory import FreeMemory
from gae_devserver.rpc.method import TICKET_HEADER, Method

# the answer to a lookup can have many entities of 1 MiB
_UNLIMITED = -1
# bytes of a request whose memory is worth returning to the system
_LARGE = 2**20

Answer = Callable[[bytes, Any], Awaitable[bytes]]
"""Answers a call: the request and gRPC's context."""


class GrpcServer:
    """Serves RPCs without credentials."""

    def __init__(
        self, methods: Mapping[str, Method], message: int, handshake_seconds: float
    ) -> None:
        """Prepare to serve RPCs by their full names.

        A request has at most `message` bytes, also after decompression. A connection
        whose HTTP/2 does not begin within `handshake_seconds` is closed.
        """
        self._message = message
        self._handshake_ms = round(handshake_seconds * 1000)
        self._free_memory = FreeMemory()
        self._methods = {f"/{name}": method for name, method in methods.items()}
        self._handlers = {
            path: self._handler(method.handle) for path, method in self._methods.items()
        }
        self._server: grpc.aio.Server | None = None

    async def start(self, path: Path) -> None:
        """Serve on a Unix socket.

        Raises:
            OSError: there can be no socket with this path.
        """
        options = (
            ("grpc.max_receive_message_length", self._message),
            ("grpc.max_send_message_length", _UNLIMITED),
            ("grpc.server_handshake_timeout_ms", self._handshake_ms),
        )
        server = grpc.aio.server(options=options)
        server.add_generic_rpc_handlers([_Handlers(self._find)])
        try:
            server.add_insecure_port(f"unix:{path}")
        except RuntimeError as error:
            raise OSError(f"cannot listen on {path}: {error}") from None
        await server.start()
        # A server stops when nothing refers to it.
        self._server = server

    async def stop(self) -> None:
        """Cancel the calls and close the connections; harmless before `start`."""
        if self._server is not None:
            await self._server.stop(grace=None)
            self._server = None

    def _find(self, path: str, ticket: str | None) -> Any:
        """Return the handler of an RPC; a missing one is answered with its name."""
        if ticket is not None and (method := self._methods.get(path)) is not None:
            return self._handler(functools.partial(method.handle, ticket=ticket))
        return self._handlers.get(path) or self._handler(_missing(path))

    def _handler(self, answer: Answer) -> Any:
        """Return a handler that gives the memory of large requests back."""

        async def answer_and_free(data: bytes, context: Any) -> bytes:
            size = len(data)
            try:
                return await answer(data, context)
            finally:
                # an error keeps this frame until the garbage collector runs
                del data
                if size > _LARGE:
                    self._free_memory.add(size)

        return grpc.unary_unary_rpc_method_handler(answer_and_free)


class _Handlers(grpc.GenericRpcHandler):
    """Finds the RPC of a call."""

    def __init__(self, find: Callable[[str, str | None], Any]) -> None:
        self._find = find

    def service(self, details: Any) -> Any:
        # gRPC has made the metadata for this; the context would make it once more
        for name, value in details.invocation_metadata or ():
            if name == TICKET_HEADER:
                return self._find(details.method, str(value))
        return self._find(details.method, None)


def _missing(path: str) -> Answer:
    async def refuse(data: bytes, context: Any) -> bytes:
        del data
        what = path.removeprefix("/")
        await context.abort(
            grpc.StatusCode.UNIMPLEMENTED, f"the dev server does not implement {what}"
        )
        raise AssertionError  # abort raises

    return refuse
