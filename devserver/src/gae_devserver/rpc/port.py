"""The port of this machine on which all RPCs are served: over gRPC, and over HTTP/1.1.

gRPC cannot share a port, nor take a connection that another part has accepted. So this
port accepts all connections. One that begins as HTTP/2 is relayed to gRPC's own server.
"""

import asyncio
import contextlib
import dataclasses
import shutil
import socket
from collections.abc import Collection, Mapping, Sequence

from aiohttp import web

from gae_devserver.app import open_files
from gae_devserver.app.private_folder import make_private_folder
from gae_devserver.http import sockets
from gae_devserver.http.limits import DEFAULT_LIMITS
from gae_devserver.http.server import Handler, HttpServer, check_host
from gae_devserver.rpc.grpc_server import GrpcServer
from gae_devserver.rpc.method import Method
from gae_devserver.rpc.relay import new_buffer, relay

# The preface of HTTP/2 begins with this, and no method of HTTP/1.1 does.
_HTTP_2 = b"PRI"
# seconds until accept() is tried again, and for which a stop waits for the clients
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
    ) -> None:
        """Prepare to serve RPCs by their full names.

        A full name is that of the service, a slash and that of the RPC, such as
        "google.datastore.v1.Datastore/Lookup". A request has at most `message` bytes,
        also after decompression. The port holds `connections`, or fewer if this process
        may have fewer, and closes one that sends nothing for `handshake_seconds`.
        `serve_http` answers the requests of HTTP/1.1, which have a limit of their own
        on connections.
        """
        methods = {name: method for api in apis for name, method in api.items()}
        self._grpc = GrpcServer(methods, message, handshake_seconds)
        self._serve_http = serve_http
        self._http = HttpServer(
            self._handle,
            dataclasses.replace(DEFAULT_LIMITS, body=message, connections=connections),
        )
        self._connections = connections
        self._handshake_seconds = handshake_seconds
        self._accepting: Sequence[asyncio.Task[None]] = ()
        self._connected: set[asyncio.Task[None]] = set()
        self._buffer = new_buffer()
        self._closing = contextlib.ExitStack()

    async def start(self, listener: socket.socket | None = None) -> int:
        """Serve on a listening socket, or on a free port; return the port.

        Raises:
            OSError: gRPC cannot listen.
        """
        listener = listener or sockets.listen_on("127.0.0.1", 0)
        self._closing.callback(listener.close)
        folder = make_private_folder()
        self._closing.callback(shutil.rmtree, folder, ignore_errors=True)
        path = folder / "grpc"
        await self._grpc.start(path)
        await self._http.start()
        most = open_files.connections_of_a_port(self._connections)
        accept = self._accept(listener, str(path), most)
        self._accepting = [asyncio.create_task(accept)]
        return int(listener.getsockname()[1])

    async def stop(self) -> None:
        """Close the port and its connections; harmless before `start`."""
        await _end(self._accepting)
        self._closing.close()
        await self._grpc.stop()
        if self._connected:
            # gRPC has told its clients why, and closed its ends
            await asyncio.wait(self._connected, timeout=_PAUSE)
        await _end(self._connected)
        await self._http.stop()

    async def _accept(self, listener: socket.socket, path: str, most: int) -> None:
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        while True:
            try:
                client, _ = await loop.sock_accept(listener)
            except OSError:  # too many open files, or the client is gone
                await asyncio.sleep(_PAUSE)
                continue
            if len(self._connected) == most:
                client.close()
                continue
            task = loop.create_task(self._serve(client, path))
            self._connected.add(task)
            task.add_done_callback(self._connected.discard)
            # let others run while many connections wait
            await asyncio.sleep(0)

    async def _serve(self, client: socket.socket, path: str) -> None:
        """Relay a connection to gRPC, or hand it over to the HTTP server."""
        with client, contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(self._handshake_seconds):
                first = await _first_bytes(client)
            if first == _HTTP_2:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with socket.socket(socket.AF_UNIX) as server:
                    server.setblocking(False)
                    await asyncio.get_running_loop().sock_connect(server, path)
                    await relay(client, server, self._buffer)
            elif first:
                await self._http.take(socket.socket(fileno=client.detach()))

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        check_host(request, _is_internal)
        return await self._serve_http(request)


async def _end(tasks: Collection[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _first_bytes(client: socket.socket) -> bytes:
    """Return the bytes that tell the protocol, which the socket still has.

    They are fewer only if the client has sent no more until it closed its half.
    """
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    # fewer bytes do not make the socket readable, but its end does
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, len(_HTTP_2))
    loop.add_reader(client, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(client)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
    return client.recv(len(_HTTP_2), socket.MSG_PEEK)


def _is_internal(host: str) -> bool:
    """Return whether a host is a name like host.docker.internal.

    Containers know this machine by it, and no web site can have such a name.
    """
    return host.partition(":")[0].lower().endswith(".internal")
