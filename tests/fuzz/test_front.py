"""The public port, with an app behind it that answers with what it got."""

import asyncio
import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import strategies as st

from devserver import http_server
from tests.devserver.site import PATIENCE, Answer, Site, running
from tests.fuzz.conftest import Fuzz
from tests.fuzz.headers import FORGED, NAMES, VALUES

# Answers each request with its bytes.
ECHO = """\
import os, socket, threading

server = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=100)

def serve(connection):
    data = b""
    while chunk := connection.recv(65536):
        data += chunk
        while b"\\r\\n\\r\\n" in data:
            head, _, rest = data.partition(b"\\r\\n\\r\\n")
            length = 0
            for line in head.lower().split(b"\\r\\n"):
                if line.startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            while len(rest) < length:
                rest += connection.recv(65536)
            data = rest[length:]
            echo = head + b"\\r\\n\\r\\n" + rest[:length]
            if head.startswith(b"HEAD "):
                echo = b""
            connection.sendall(ANSWER % len(echo) + echo)
    connection.close()

ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n"
while True:
    connection, _ = server.accept()
    threading.Thread(target=serve, args=(connection,), daemon=True).start()
"""

METHODS = st.one_of(
    st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT", "CONNECT", "get", ""]),
    st.text(max_size=5),
)
TARGETS = st.one_of(
    st.sampled_from(["/", "*", "/?", "//", "http://localhost/x", "http://a/", "a:1"]),
    st.text(max_size=20).map(lambda text: "/" + text),
    st.text("/.%2f?#@:[]\\", max_size=20),
)
BODIES = st.one_of(
    st.sampled_from(
        [b"", b"5\r\nhello\r\n0\r\n\r\n", b"0\r\n\r\n", b"hello", b"5\r\n"]
    ),
    st.binary(max_size=40),
)


@pytest.fixture
def site(
    loop: asyncio.Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    """A front whose clients have little time."""
    monkeypatch.setattr(http_server, "HEAD_SECONDS", 0.1)
    monkeypatch.setattr(http_server, "BODY_SECONDS", 0.1)
    monkeypatch.setattr(http_server, "_IDLE_SECONDS", 0.1)
    monkeypatch.setattr(http_server, "_LINGERING_SECONDS", 0.05)
    stack = contextlib.AsyncExitStack()

    async def start() -> Site:
        return await stack.enter_async_context(running_echo(tmp_path))

    site = loop.run(start())
    yield site
    loop.run(stack.aclose())


def running_echo(folder: Path) -> contextlib.AbstractAsyncContextManager[Site]:
    """Start the app that answers with what it got."""
    return running(folder, ECHO, entrypoint="python main.py")


async def exchange(site: Site, data: bytes) -> bytes:
    """Send bytes; return all that comes until the front hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    try:
        async with asyncio.timeout(PATIENCE):
            writer.write(data)
            answer = b""
            with contextlib.suppress(ConnectionError):
                # in pieces: what came before a reset counts
                while chunk := await reader.read(65536):
                    answer += chunk
            return answer
    finally:
        writer.close()


def check_answer(site: Site, answer: bytes) -> None:
    """Check what holds for every answer, and what the app got."""
    assert b"Traceback" not in answer
    assert b"500 Internal" not in answer
    assert len(site.requests) == 0
    if answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\n"):
        answer = answer.partition(b"\r\n\r\n")[2]
    if not answer:
        return
    assert re.match(rb"HTTP/\d\.\d (200|4\d\d) ", answer), answer
    parsed = Answer(answer)
    if parsed.status != 200 or not parsed.body:
        return
    head, _, _ = parsed.body.partition(b"\r\n\r\n")
    names = set()
    for line in head.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        assert colon
        assert not re.search(rb"[\s\x00-\x1f]", name), line
        folded = name.lower().replace(b"_", b"-")
        names.add(folded)
        if folded.startswith((b"x-appengine-", b"x-google-")):
            assert value.strip() != FORGED.encode(), line
    assert {b"host", b"x-appengine-user-ip", b"x-appengine-api-ticket"} <= names


def test_any_bytes(site: Site, loop: asyncio.Runner, fuzz: Fuzz) -> None:
    """Each client hears no or yes, and the next one is answered as ever."""

    def check(data: bytes, ends: bool) -> None:
        sent = data + b"\r\n\r\n" if ends else data
        check_answer(site, loop.run(exchange(site, sent)))

    fuzz("front: bytes", check, st.binary(max_size=200), st.booleans())
    fuzz("front: heads", check, st.binary(max_size=200), st.just(True))
    assert loop.run(site.get("/last")).status == 200


def test_any_request(site: Site, loop: asyncio.Runner, fuzz: Fuzz) -> None:
    """Odd methods, targets, headers and framings: the app gets HTTP or nothing."""

    def check(
        method: str, target: str, headers: list[tuple[str, str]], body: bytes
    ) -> None:
        lines = [
            f"{method} {target} HTTP/1.1",
            "Host: localhost",
            "Connection: close",
            *(f"{name}: {value}" for name, value in headers),
            *("", ""),
        ]
        head = "\r\n".join(lines).encode("utf-8", "surrogatepass")
        check_answer(site, loop.run(exchange(site, head + body)))

    headers = st.lists(st.tuples(NAMES, VALUES), max_size=4)
    fuzz("front: requests", check, METHODS, TARGETS, headers, BODIES)
    assert loop.run(site.get("/last")).status == 200
