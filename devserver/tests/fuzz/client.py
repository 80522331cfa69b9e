"""A client of a front, whose app returns what it got, that checks every answer."""

import asyncio
import contextlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gae_devserver.http.limits import Limits
from tests.fuzz.headers import FORGED, HOP_BY_HOP, Header, folded, is_app_engines
from tests.fuzz.requests import LAST
from tests.helpers.app_folder import RECORDER
from tests.helpers.http_messages import Answer, Recorded
from tests.helpers.site import Site, running
from tests.helpers.waiting import settled, until

_HANDLERS = """\
handlers:
- url: /s
  static_dir: s
"""
FILE = b"static"
"""The content of the only file that the front serves itself."""

# App Engine's headers whose values differ in each request
_VARYING = {
    b"x-appengine-api-ticket",
    b"x-appengine-request-log-id",
    b"x-appengine-request-id-hash",
    b"x-cloud-trace-context",
}


class Reply(Answer):
    """An answer, and the request that the app got; None: it is not the app's."""

    def __init__(self, data: bytes, port: int) -> None:
        super().__init__(data)
        self.got: Recorded | None = None
        for request in self.all("X-Request"):
            data = bytes.fromhex(request)
            self.got = Recorded(data.replace(b":%d" % port, b":_port"))


def headers_of(got: Recorded) -> list[Header]:
    """Return the headers that the app got."""
    return [line.partition(b": ")[::2] for line in got.lines]


def _of_app_engine(got: Recorded) -> list[Header]:
    return [
        (folded(name), value) for name, value in headers_of(got) if is_app_engines(name)
    ]


class Client:
    """Sends bytes to a front, and checks what holds for every answer."""

    def __init__(
        self, site: Site, loop: asyncio.Runner, caplog: pytest.LogCaptureFixture
    ) -> None:
        self._site = site
        self._loop = loop
        self._caplog = caplog
        self._own = dict(_of_app_engine(self.last()))
        """What the front adds to every request."""

    def send(self, data: bytes, place: int | None = None) -> list[Reply]:
        """Send bytes; return the answers when the front hangs up.

        With `place`, the bytes before and after it are two packets.
        """
        replies = self._replies(data, place)
        for reply in replies:
            if reply.got is not None:
                self._check_got(reply.got)
        return [reply for reply in replies if reply.status != 100]

    def go(self, data: bytes) -> None:
        """Send bytes and hang up; return when the front has closed the connection."""
        self._loop.run(self._exchange(data, goes=True))
        self._check_the_rest()

    def last(self) -> Recorded:
        """Send a valid request; return what the app got of it."""
        (reply,) = self._replies(LAST)
        assert reply.got is not None
        return reply.got

    def _replies(self, data: bytes, place: int | None = None) -> list[Reply]:
        answer = self._loop.run(self._exchange(data, place))
        parts = re.split(rb"(?=HTTP/\d\.\d \d{3} )", answer)
        assert parts[0] == b"", answer
        replies = [Reply(part, self._site.port) for part in parts[1:]]
        for reply in replies:
            assert reply.status < 500, answer
            assert b"Traceback" not in reply.body
            assert b"entrypoint" not in reply.body, "the app.yaml was sent"
        self._check_the_rest()
        return replies

    def _check_got(self, got: Recorded) -> None:
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

    def _check_the_rest(self) -> None:
        """Check that no request is left, and that no error was logged."""
        bad = [r for r in self._caplog.records if r.levelno >= logging.ERROR]
        assert [record.exc_text or record.getMessage() for record in bad] == []
        assert len(self._site.requests) == 0

    async def _exchange(
        self, data: bytes, place: int | None = None, *, goes: bool = False
    ) -> bytes:
        self._caplog.clear()
        data = data.replace(b"_port", b"%d" % self._site.port)
        answer = b""
        async with self._site.connected() as (reader, writer):
            for packet in (data[:place], data[place:] if place else b""):
                writer.write(packet)
                # the front takes it before the next one comes
                await settled()
            if goes:
                writer.write_eof()
            with contextlib.suppress(ConnectionError):
                # in pieces, to keep what comes before a reset
                while chunk := await reader.read(65536):
                    answer += chunk
        if goes:
            await until(lambda: not self._site.requests)
        return answer


@contextlib.contextmanager
def running_client(
    folder: Path,
    limits: Limits,
    loop: asyncio.Runner,
    caplog: pytest.LogCaptureFixture,
) -> Iterator[Client]:
    """Start a front and its app; check at the end that they still answer."""
    (folder / "s").mkdir(parents=True)
    (folder / "s" / "a.txt").write_bytes(FILE)
    stack = contextlib.AsyncExitStack()
    start = running(folder, RECORDER, _HANDLERS, "python main.py", limits=limits)
    try:
        site = loop.run(stack.enter_async_context(start))
        client = Client(site, loop, caplog)
        yield client
        client.last()
    finally:
        loop.run(stack.aclose())
