"""Requests straight to the app's own socket or port, past the dev server."""

import pathlib
import re
import socket

from tests.servers.base import Server

Address = pathlib.Path | tuple[str, int]


def app_address(server: Server) -> Address:
    """Return the Unix socket, or host and port, that gunicorn listens on."""
    found = re.findall(
        r"Listening at: (?:unix:(\S+)|http://(127\.0\.0\.1):(\d+))", server.log()
    )
    assert found, server.log()
    path, host, port = found[-1]
    return pathlib.Path(path) if path else (host, int(port))


def post(
    address: Address, endpoint: str, headers: dict[str, str], payload: bytes
) -> int:
    """POST to the app itself; return the status."""
    head = {
        "Host": "localhost",
        "Connection": "close",
        "Content-Type": "application/octet-stream",
        "Content-Length": str(len(payload)),
        **headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    if isinstance(address, pathlib.Path):
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(address))
    else:
        client = socket.create_connection(address)
    with client:
        client.settimeout(30)
        request = f"POST {endpoint} HTTP/1.1\r\n{lines}\r\n".encode() + payload
        return int(exchange(client, request).split()[1])


def exchange(client: socket.socket, request: bytes) -> bytes:
    """Send a request; return all that comes until the other side hangs up."""
    client.sendall(request)
    return b"".join(iter(lambda: client.recv(65536), b""))
