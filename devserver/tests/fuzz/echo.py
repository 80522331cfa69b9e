"""A front with an app that returns what it got, and a client that checks it."""

import asyncio
import contextlib
import dataclasses
import logging
import re
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path

import pytest

from gae_devserver.config.app_yaml import load_app_yaml
from gae_devserver.http.front import Front
from gae_devserver.http.limits import Limits
from gae_devserver.http.sockets import listen_on
from tests.fuzz.headers import FORGED, Header
from tests.fuzz.requests import HOP_BY_HOP, LAST, folded, is_app_engines
from tests.helpers.http_messages import Answer, Recorded
from tests.helpers.site import Site, running
from tests.helpers.waiting import PATIENCE, settled, until

# Answers each request with its bytes in a header, which an answer to HEAD has too.
_ECHO = """\
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
            body = b"" if head.startswith(b"HEAD ") else b"ok"
            connection.sendall(ANSWER % echo.hex().encode() + body)
    connection.close()

ANSWER = b"HTTP/1.1 200 OK\\r\\nX-Echo: %s\\r\\nContent-Length: 2\\r\\n\\r\\n"
while True:
    connection, _ = server.accept()
    threading.Thread(target=serve, args=(connection,), daemon=True).start()
"""
_HANDLERS = """\
handlers:
- url: /s
  static_dir: s
"""
FILE = b"static"
"""The content of the only file that the front serves itself."""

_HASTY = Limits(
    head_seconds=0.05, body_seconds=0.05, lingering_seconds=0.05, idle_seconds=3.0
)
"""For requests that arrive in one packet, which takes no time."""
_PATIENT = dataclasses.replace(_HASTY, head_seconds=3.0, body_seconds=3.0)
"""For requests of which another packet follows, however loaded the machine is."""

# App Engine's headers whose values differ in each request
_VARYING = {
    *(b"x-appengine-api-ticket", b"x-appengine-request-log-id"),
    b"x-appengine-request-id-hash",
}


class Reply(Answer):
    """An answer, and the request that the app got; None: it is not the app's."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        echo = self.all("X-Echo")
        self.got = Recorded(bytes.fromhex(echo[0])) if echo else None


def headers_of(got: Recorded) -> list[Header]:
    """Return the headers that the app got."""
    return [line.partition(b": ")[::2] for line in got.lines]


class Client:
    """Sends bytes to a front, and checks what holds for every answer.

    The same app has two fronts. The one at `port` is hasty, the other one patient.
    """

    def __init__(
        self,
        site: Site,
        patient_port: int,
        loop: asyncio.Runner,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        self.port = site.port
        self._patient_port = patient_port
        self._site = site
        self._loop = loop
        self._caplog = caplog
        self._own: dict[bytes, bytes] = {}
        self._own = dict(_of_app_engine(self._last()))

    def send(self, data: bytes) -> list[Reply]:
        """Send a packet; return the answers when the front hangs up."""
        return self._replies(self._exchange(self.port, [data]))

    def send_in_two(self, data: bytes, place: int) -> list[Reply]:
        """Send the bytes before and after `place` one after the other, patiently."""
        data = self._to_patient(data)
        packets = [data[:place], data[place:]]
        return self._replies(self._exchange(self._patient_port, packets))

    def go(self, data: bytes) -> None:
        """Send bytes and hang up; return when the front has closed the connection."""
        data = self._to_patient(data)
        self._loop.run(self._exchange(self._patient_port, [data], stays=False))
        self._loop.run(until(lambda: not self._site.requests))
        self._check_the_rest()

    def _replies(self, exchange: Coroutine[None, None, bytes]) -> list[Reply]:
        data = self._loop.run(exchange)
        parts = re.split(rb"(?=HTTP/\d\.\d \d{3} )", data)
        assert parts[0] == b"", data
        replies = [Reply(part) for part in parts[1:]]
        for reply in replies:
            assert reply.status < 500, data
            assert b"Traceback" not in reply.body
        self._check_the_rest()
        return [reply for reply in replies if reply.status != 100]

    def _to_patient(self, data: bytes) -> bytes:
        return data.replace(b":%d" % self.port, b":%d" % self._patient_port)

    def check_alive(self) -> None:
        """Check that a valid request is still answered."""
        assert dict(_of_app_engine(self._last())).keys() == self._own.keys()

    def check_got(self, got: Recorded) -> None:
        """Check what holds for every request that the app gets."""
        sent = headers_of(got)
        for name, value in sent:
            assert re.fullmatch(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name), got.head
            assert not re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", value), got.head
        assert HOP_BY_HOP.isdisjoint(folded(name) for name, _ in sent), got.head
        own = _of_app_engine(got)
        assert sorted(name for name, _ in own) == sorted(self._own), got.head
        for name, value in own:
            assert value != FORGED, name
            assert name in _VARYING or value == self._own[name], name
        lengths = [value for name, value in sent if folded(name) == b"content-length"]
        assert lengths in ([], [b"%d" % len(got.body)])

    def _last(self) -> Recorded:
        (reply,) = self.send(LAST)
        assert reply.got is not None
        return reply.got

    def _check_the_rest(self) -> None:
        """Check that no request is left, and that no error was logged."""
        bad = [r for r in self._caplog.records if r.levelno >= logging.ERROR]
        assert [record.exc_text or record.getMessage() for record in bad] == []
        assert len(self._site.requests) == 0

    async def _exchange(
        self, port: int, packets: Sequence[bytes], stays: bool = True
    ) -> bytes:
        self._caplog.clear()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.timeout(PATIENCE):
                for packet in packets:
                    writer.write(packet)
                    # the front takes it before the next one comes
                    await settled()
                if not stays:
                    writer.write_eof()
                return await _read_all(reader)
        finally:
            writer.close()


def _of_app_engine(got: Recorded) -> list[Header]:
    return [
        (folded(name), value) for name, value in headers_of(got) if is_app_engines(name)
    ]


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    answer = b""
    with contextlib.suppress(ConnectionError):
        # in pieces, to keep what comes before a reset
        while chunk := await reader.read(65536):
            answer += chunk
    return answer


@pytest.fixture
def client(
    loop: asyncio.Runner, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> Iterator[Client]:
    """A client of an app with two fronts."""
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "a.txt").write_bytes(FILE)
    stack = contextlib.AsyncExitStack()

    async def start() -> tuple[Site, int]:
        site = await stack.enter_async_context(
            running(tmp_path, _ECHO, _HANDLERS, "python main.py", limits=_HASTY)
        )
        config = load_app_yaml(tmp_path)
        patient = Front(config, site.supervisor, site.sender, limits=_PATIENT)
        sock = listen_on("127.0.0.1", 0)
        await patient.start(sock)
        stack.push_async_callback(patient.stop)
        return site, sock.getsockname()[1]

    site, patient_port = loop.run(start())
    made = Client(site, patient_port, loop, caplog)
    yield made
    made.check_alive()
    loop.run(stack.aclose())
