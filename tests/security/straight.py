"""Requests straight to the app's own socket, past the dev server."""

import pathlib
import re
import socket

from tests.servers.base import Server


def app_socket(server: Server) -> pathlib.Path:
    """Return the socket that gunicorn has said it listens on."""
    found = re.search(r"Listening at: unix:(\S+)", server.log())
    assert found, server.log()
    return pathlib.Path(found[1])


def post(
    path: pathlib.Path, endpoint: str, headers: dict[str, str], payload: bytes
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
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(path))
        request = f"POST {endpoint} HTTP/1.1\r\n{lines}\r\n".encode() + payload
        return int(exchange(client, request).split()[1])


def exchange(client: socket.socket, request: bytes) -> bytes:
    """Send a request; return all that comes until the other side hangs up."""
    client.sendall(request)
    return b"".join(iter(lambda: client.recv(65536), b""))
