"""Requests byte for byte: to the dev server, or straight to the app's own socket."""

import pathlib
import re
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from tests.servers.base import Server

Address = pathlib.Path | tuple[str, int]


def server_address(server: Server) -> Address:
    """Return host and port of a server's public port."""
    parts = urlsplit(server.url)
    return str(parts.hostname), int(parts.port or 0)


def app_address(server: Server) -> Address:
    """Return the Unix socket, or host and port, that gunicorn listens on."""
    found = re.findall(
        r"Listening at: (?:unix:(\S+)|http://(127\.0\.0\.1):(\d+))", server.log()
    )
    assert found, server.log()
    path, host, port = found[-1]
    return pathlib.Path(path) if path else (host, int(port))


def send(
    address: Address,
    method: str,
    endpoint: str,
    fields: Iterable[tuple[bytes, bytes]],
    payload: bytes,
) -> bytes:
    """Send a request with these headers; return the answer, with its head.

    Host must be among the headers, but neither Connection nor a length.
    """
    lines = [f"{method} {endpoint} HTTP/1.1".encode()]
    lines += [b"%s: %s" % field for field in fields]
    lines += [b"Content-Length: %d" % len(payload), b"Connection: close"]
    return exchange(address, b"\r\n".join([*lines, b"", payload]))


def exchange(address: Address, request: bytes) -> bytes:
    """Send a request; return all that comes until the other side closes."""
    family = socket.AF_UNIX if isinstance(address, pathlib.Path) else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(30)
        client.connect(str(address) if isinstance(address, pathlib.Path) else address)
        client.sendall(request)
        return b"".join(iter(lambda: client.recv(65536), b""))
