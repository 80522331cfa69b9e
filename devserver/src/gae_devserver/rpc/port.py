"""The gRPC port of this machine, on which all APIs are served."""

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc.aio

from gae_devserver.app import open_files
from gae_devserver.memory import FreeMemory
from gae_devserver.rpc.method import TICKET_HEADER, Method

# the answer to a lookup can have many entities of 1 MiB
_UNLIMITED = -1
# bytes of a request whose memory is worth returning to the system
_LARGE = 2**20

Answer = Callable[[bytes, Any], Awaitable[bytes]]
"""Answers a call: the request and gRPC's context."""


class GrpcPort:
    """Serves RPCs without credentials, on the loopback interface only."""

    def __init__(
        self,
        *apis: Mapping[str, Method],
        message: int = 32 * 2**20,
        connections: int = 512,
        handshake_seconds: float = 20.0,
    ) -> None:
        """Prepare to serve RPCs by their full names.

        A full name is that of the service, a slash and that of the RPC, such as
        "google.datastore.v1.Datastore/Lookup". A request has at most `message` bytes,
        also after decompression. The port holds `connections`, or fewer if this process
        may have fewer, and closes one that sends nothing for `handshake_seconds`.
        """
        self._message = message
        self._connections = connections
        self._handshake_ms = round(handshake_seconds * 1000)
        self._free_memory = FreeMemory()
        self._methods = {
            f"/{name}": method for api in apis for name, method in api.items()
        }
        self._handlers = {
            path: self._handler(method.handle) for path, method in self._methods.items()
        }
        self._server: grpc.aio.Server | None = None

    async def start(self, port: int = 0, *, reserved: bool = False) -> int:
        """Serve on a port; return it.

        Args:
            port: the port; 0 takes a free one.
            reserved: whether a socket with SO_REUSEPORT keeps the port for this server.

        Raises:
            OSError: the port is taken.
        """
        connections = open_files.connections_of_a_port(self._connections)
        options = (
            ("grpc.max_allowed_incoming_connections", connections),
            ("grpc.max_receive_message_length", self._message),
            ("grpc.max_send_message_length", _UNLIMITED),
            ("grpc.server_handshake_timeout_ms", self._handshake_ms),
            # With SO_REUSEPORT, two servers could share a port and split the calls.
            ("grpc.so_reuseport", int(reserved)),
        )
        server = grpc.aio.server(options=options)
        server.add_generic_rpc_handlers([_Handlers(self._find)])
        try:
            bound: int = server.add_insecure_port(f"127.0.0.1:{port}")
        except RuntimeError as error:
            raise OSError(f"cannot listen on port {port}: {error}") from None
        await server.start()
        # A server stops when nothing refers to it.
        self._server = server
        return bound

    async def stop(self) -> None:
        """Close the port; harmless before `start`."""
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
