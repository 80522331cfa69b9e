"""The port of this machine on which all RPCs are served: over gRPC, and over HTTP/1.1.

The first bytes of a connection tell which of both its client speaks.
"""

import asyncio
import dataclasses
import socket
from collections.abc import Mapping

from aiohttp import web

from gae_devserver.app import open_files
from gae_devserver.http import sockets
from gae_devserver.http.limits import DEFAULT_LIMITS
from gae_devserver.http.server import ACCEPTED_AT_ONCE, Handler, HttpServer, check_host
from gae_devserver.memory import FreeMemory
from gae_devserver.rpc.connection import GrpcConnection, Service
from gae_devserver.rpc.method import Method

# The preface of HTTP/2 begins with this, and no method of HTTP/1.1 does.
_HTTP_2 = b"PRI"
# seconds for which a stop waits for the clients
_PAUSE = 0.05


async def _no_http(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(status=404, text="This port serves only gRPC.\n")


class GrpcPort:
    """Serves RPCs without credentials, on the loopback interface only."""

    def __init__(
        self,
        *apis: Mapping[str, Method],
        serve_http: Handler = _no_http,
        message: int = DEFAULT_LIMITS.body,
        connections: int = 512,
        handshake_seconds: float = 20.0,
        stalled_seconds: float = DEFAULT_LIMITS.stalled_seconds,
    ) -> None:
        """Prepare to serve RPCs by their full names.

        A full name is that of the service, a slash and that of the RPC, such as
        "google.datastore.v1.Datastore/Lookup". A request has at most `message` bytes,
        also after decompression. The port holds `connections`, or fewer if this process
        may have fewer, and closes one that sends nothing for `handshake_seconds`, or
        reads none of what waits for it for `stalled_seconds`. `serve_http` answers the
        requests of HTTP/1.1, which have a limit of their own on connections.
        """
        methods = {name: method for api in apis for name, method in api.items()}
        self._service = Service(
            {f"/{name}": method for name, method in methods.items()},
            message,
            handshake_seconds,
            stalled_seconds,
            FreeMemory(),
        )
        self._serve_http = serve_http
        self._http = HttpServer(
            self._handle,
            dataclasses.replace(DEFAULT_LIMITS, body=message, connections=connections),
        )
        self._connections = connections
        self._listening: asyncio.Server | None = None
        self._connected: set[_Arrival | GrpcConnection] = set()

    async def start(self, listener: socket.socket | None = None) -> int:
        """Serve on a listening socket, or on a free port; return the port."""
        listener = listener or sockets.listen_on("127.0.0.1", 0)
        await self._http.start()
        most = open_files.connections_of_a_port(self._connections)
        self._listening = await asyncio.get_running_loop().create_server(
            lambda: _Arrival(self._service, self._http, self._connected, most),
            sock=listener,
            backlog=ACCEPTED_AT_ONCE,
        )
        # asyncio takes the other number for this too
        listener.listen(sockets.BACKLOG)
        return int(listener.getsockname()[1])

    async def stop(self) -> None:
        """Close the port and its connections; harmless before `start`."""
        if self._listening is not None:
            self._listening.close()
        ending = {task for one in list(self._connected) for task in one.stop()}
        # those that read learn why; and a connection that was just accepted arrives
        await asyncio.sleep(0)
        if self._connected:
            await asyncio.sleep(_PAUSE)
        for one in list(self._connected):
            one.abort()
        await asyncio.gather(*ending, return_exceptions=True)
        await self._http.stop()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        check_host(request, _is_internal)
        return await self._serve_http(request)


class _Arrival(asyncio.Protocol):
    """A connection until its protocol is known."""

    def __init__(
        self,
        service: Service,
        http: HttpServer,
        connected: "set[_Arrival | GrpcConnection]",
        most: int,
    ) -> None:
        """Wait for the first bytes, unless `most` connections are there already."""
        self._service = service
        self._http = http
        self._connected = connected
        self._most = most
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or close it."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        seconds = self._service.handshake_seconds
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self.abort)
        if len(self._connected) >= self._most:
            self._transport.close()
        else:
            self._connected.add(self)

    def data_received(self, data: bytes) -> None:
        """Hand the connection over as soon as its protocol is known."""
        self._data += data
        begin = self._data[: len(_HTTP_2)]
        if begin != _HTTP_2 and _HTTP_2.startswith(begin):
            return
        self._leave()
        protocol: asyncio.Protocol
        if begin == _HTTP_2:
            protocol = GrpcConnection(self._service, self._connected.discard)
            self._connected.add(protocol)
        else:
            protocol = self._http.protocol()
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(self._data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Make room for another one."""
        self._leave()

    def stop(self) -> set[asyncio.Task[None]]:
        """Close the connection."""
        self._transport.abort()
        return set()

    def abort(self) -> None:
        """Close the connection."""
        self._transport.abort()

    def _leave(self) -> None:
        self._timer.cancel()
        self._connected.discard(self)


def _is_internal(host: str) -> bool:
    """Return whether a host is a name like host.docker.internal.

    Containers know this machine by it, and no web site can have such a name.
    """
    return host.partition(":")[0].lower().endswith(".internal")
