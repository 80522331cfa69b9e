"""The public port: what the app gets of a request, and the client of the answer."""

import asyncio
import contextlib
import gzip
import logging
import re
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from gae_devserver.app.supervisor import AppUnavailable
from gae_devserver.http import server as http_server
from tests.helpers.app_folder import RECORDER
from tests.helpers.http_messages import Answer
from tests.helpers.site import Site, running
from tests.helpers.waiting import PATIENCE

pytestmark = pytest.mark.asyncio(loop_scope="module")

# A WSGI app with an answer for each awkward case.
ANSWERS = """\
import gzip, os, pathlib, threading

def wait_for(name):
    while not pathlib.Path(name).exists():
        threading.Event().wait(0.01)

def stream():
    yield b"first"
    wait_for("go")
    yield b"second"

def breaks_off():
    yield b"first"
    os._exit(1)

ANSWERS = {
    "/plain": ("200 OK", [("Content-Type", "text/plain")], [b"hello"]),
    "/cookies": ("200 OK", [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")], [b""]),
    "/latin-1": ("200 OK", [("X-Name", "caf\\u00e9")], [b"x"]),
    "/untyped": ("200 OK", [], [b"x"]),
    "/gzip": ("200 OK", [("Content-Encoding", "gzip")], [gzip.compress(b"x" * 99)]),
    "/redirect": ("302 Moved", [("Location", "/plain")], [b""]),
    "/reason": ("200 Very Well", [], [b""]),
    "/empty": ("204 No Content", [], []),
    "/unchanged": ("304 Not Modified", [("ETag", '"x"')], []),
    "/error": ("500 Internal Server Error", [], [b"sorry"]),
    "/large": ("200 OK", [], [b"x" * 2**20] * 32),
}

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/pid":
        status, headers, body = "200 OK", [], [str(os.getpid()).encode()]
    elif path == "/crash":
        os._exit(1)
    elif path == "/hang":
        wait_for("never")
    elif path == "/breaks-off":
        status, headers, body = "200 OK", [("Content-Length", "99")], breaks_off()
    elif path == "/breaks-off-somewhere":
        status, headers, body = "200 OK", [], breaks_off()
    elif path == "/stream":
        status, headers, body = "200 OK", [], stream()
    else:
        status, headers, body = ANSWERS[path]
        if path not in ("/empty", "/unchanged"):
            headers = headers + [("Content-Length", str(len(b"".join(body))))]
    start_response(status, headers)
    return body
"""

# Takes a request, keeps its bytes, and closes the connection without an answer.
RUDE = RECORDER.replace("connection.sendall(ANSWER)", "return connection.close()")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_recorder(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Site]:
    """The site of `recorder`, for all tests."""
    folder = tmp_path_factory.mktemp("recorder")
    async with running(folder, RECORDER, entrypoint="python main.py") as site:
        yield site


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """The site of `site`, for all tests."""
    async with running(tmp_path_factory.mktemp("site"), ANSWERS) as site:
        yield site


@pytest.fixture
def recorder(one_recorder: Site) -> Site:
    """A site whose app records the bytes of every request."""
    for file in one_recorder.folder.glob("request-*"):
        file.unlink()
    return one_recorder


@pytest.fixture
def site(one_site: Site) -> Site:
    """A site with an answer for every awkward case."""
    (one_site.folder / "go").unlink(missing_ok=True)
    return one_site


@pytest_asyncio.fixture(loop_scope="module")
async def rude(tmp_path: Path) -> AsyncIterator[Site]:
    """A site whose app takes requests and answers none."""
    async with running(tmp_path, RUDE, entrypoint="python main.py") as site:
        yield site


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/?",
        "/x?a=%zz&b=%C3%A9+c",
        "//x//",
        "/evil/../custom/path",
        "/./x/",
        "/%2e%2e/%2F%5c",
        "/a;b=c,d:e@f!$&'()*",
        "/a b".replace(" ", "%20"),
        "/a#b?c",
        '/a|b"<>{}^`\\',
        "/a?b?c=d#e",
        "http://LOCALHOST/x?y",
        "/" + "long" * 1500,
    ],
)
async def test_the_target_arrives_byte_for_byte(recorder: Site, target: str) -> None:
    """Nothing is resolved, decoded, encoded or left out."""
    assert (await recorder.get(target)).status == 200
    request = await recorder.recorded()
    assert request.request_line == f"GET {target} HTTP/1.1".encode()


async def test_headers_arrive_as_they_were(recorder: Site) -> None:
    """In their order and spelling; none is lost, and none comes from nowhere."""
    sent = ["User-agent: me", "Cookie: a=b", "X-Z: 1", "COOKIE: c=d", "X-Z: é", "X-Y:"]
    await recorder.get("/", *sent)
    request = await recorder.recorded()
    # a name that comes again is spelled as the first time
    sent = ["User-agent: me", "Cookie: a=b", "X-Z: 1", "Cookie: c=d", "X-Z: é", "X-Y: "]
    expected = ["Host: localhost", *sent]
    assert request.from_outside == [line.encode() for line in expected]


async def test_headers_of_a_connection_stay_on_it(recorder: Site) -> None:
    """Hop-by-hop headers go no further, nor those that Connection names."""
    await recorder.send(
        b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close, X-Mine, Host\r\n"
        b"X-Mine: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nTrailer: X\r\n"
        b"Proxy-Authorization: x\r\nProxy-Connection: y\r\nX-Other: 2\r\n\r\n"
    )
    request = await recorder.recorded()
    assert request.from_outside == [b"Host: localhost", b"X-Other: 2"]


@pytest.mark.parametrize(
    "header",
    [
        "X-AppEngine-TaskName: t",
        "x-appengine-taskname: t",
        "X_AppEngine_TaskName: t",
        "X-AppEngine_TaskName: t",
        "x_APPENGINE-User_IP: 0.1.0.2",
        "X-AppEngine-Remote-Addr: 0.1.0.2",
        "X-Appengine-Cron: true",
        "X-AppEngine-QueueName:default",
        "X-AppEngine-Api-Ticket: guessed",
        "X-AppEngine-Dev-Request-Id: guessed",
        "X-Google-Internal-SkipAdminCheck: true",
        "X_GOOGLE_DapperTraceInfo: x",
        "X-Appengine-: x",
    ],
)
async def test_forged_headers_are_dropped(recorder: Site, header: str) -> None:
    """No spelling that WSGI folds into a name of App Engine's comes through."""
    await recorder.get("/", header, header, "X-Appengine: no", "X-Goo: gle")
    request = await recorder.recorded()
    assert request.from_outside == [
        b"Host: localhost",
        b"X-Appengine: no",
        b"X-Goo: gle",
    ]
    name, _, value = header.partition(":")
    folded = name.lower().replace("_", "-")
    values = [
        line.partition(b": ")[2].decode()
        for line in request.lines
        if line.partition(b":")[0].decode().lower() == folded
    ]
    assert value.strip() not in values


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "script_name", "PATH_INFO"])
async def test_what_gunicorn_takes_from_a_proxy_is_dropped(
    recorder: Site, site: Site, name: str
) -> None:
    """Nobody outside says where the app is mounted; gunicorn would believe it."""
    await recorder.get("/", f"{name}: /evil")
    assert (await recorder.recorded()).from_outside == [b"Host: localhost"]
    assert (await site.get("/plain", f"{name}: /evil")).body == b"hello"


async def test_a_header_that_app_engine_sets_is_there_once(recorder: Site) -> None:
    """Where the client sent the same name, the app sees the server's value only."""
    await recorder.get("/", "X-AppEngine-User-IP: 0.1.0.2", "X-AppEngine-Country: DE")
    names = [
        line.partition(b":")[0].lower() for line in (await recorder.recorded()).lines
    ]
    assert len(names) == len(set(names))


async def test_app_engines_own_headers(recorder: Site) -> None:
    """What dev_appserver.py adds to a request is there, and no X-Forwarded-Proto."""
    await recorder.get("/x?y")
    headers = (await recorder.recorded()).headers
    mine = {
        name.removeprefix("X-Appengine-"): value
        for name, value in headers.items()
        if name.startswith("X-Appengine-")
    }
    assert re.fullmatch("[0-9a-f]{32}", mine.pop("Api-Ticket"))
    assert re.fullmatch("[0-9a-f]{32}", mine.pop("Request-Log-Id"))
    assert re.fullmatch("[0-9A-F]{8}", mine.pop("Request-Id-Hash"))
    assert mine == {
        "Auth-Domain": "gmail.com",
        "Country": "ZZ",
        "Default-Version-Hostname": f"localhost:{recorder.port}",
        "Https": "off",
        "Remote-Addr": "127.0.0.1",
        "Server-Name": "localhost",
        "Server-Port": str(recorder.port),
        "Server-Protocol": "HTTP/1.1",
        "User-Email": "",
        "User-IP": "127.0.0.1",
        "User-Id": "",
        "User-Is-Admin": "0",
        "User-Nickname": "",
        "User-Organization": "",
    }
    assert set(headers) == {"Host"} | {name for name in headers if "Appengine" in name}


async def test_the_address_of_an_ipv6_client(recorder: Site) -> None:
    """A client that came by ::1 is named so."""
    if not socket.has_ipv6 or len(recorder._sockets) < 2:
        pytest.skip("this machine has no IPv6 loopback address")
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    await recorder.send(request, "::1")
    assert (await recorder.recorded()).headers["X-Appengine-User-IP"] == "::1"


async def test_a_request_without_host(recorder: Site) -> None:
    """HTTP/1.0 needs no Host; the app gets the server's own."""
    answer = Answer(await recorder.send(b"GET /old HTTP/1.0\r\n\r\n"))
    assert (answer.status, answer.body) == (200, b"ok")
    headers = (await recorder.recorded()).headers
    assert headers["Host"] == f"localhost:{recorder.port}"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "GET"])
async def test_a_body_arrives(recorder: Site, method: str) -> None:
    """Whatever the method, with its length and its type."""
    body = bytes(range(256)) * 400
    length, kind = f"Content-Length: {len(body)}", "Content-Type: a/b"
    await recorder.get("/", length, kind, method=method, body=body)
    request = await recorder.recorded()
    assert request.body == body
    assert request.from_outside == [b"Host: localhost", kind.encode(), length.encode()]


async def test_a_chunked_body_arrives_whole(recorder: Site) -> None:
    """The app gets a Content-Length: the SDK's handler takes no body without one."""
    answer = await recorder.get(
        "/",
        "Transfer-Encoding: chunked",
        method="POST",
        body=b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: x\r\n\r\n",
    )
    assert answer.status == 200
    request = await recorder.recorded()
    assert request.body == b"hello world"
    assert request.from_outside == [b"Host: localhost", b"Content-Length: 11"]


async def test_a_compressed_body_stays_compressed(recorder: Site) -> None:
    """It is not unpacked on the way, chunked or not."""
    body = gzip.compress(b"hello")
    length = f"Content-Length: {len(body)}"
    await recorder.get("/", "Content-Encoding: gzip", length, method="POST", body=body)
    assert (await recorder.recorded()).body == body
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    how = ("Content-Encoding: gzip", "Transfer-Encoding: chunked")
    await recorder.get("/", *how, method="POST", body=chunked)
    assert (await recorder.recorded()).body == body


async def test_a_client_that_waits_for_100_continue(recorder: Site) -> None:
    """It is told to go on before its body is read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", recorder.port)
    async with asyncio.timeout(PATIENCE):
        writer.write(
            b"POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
            b"Content-Length: 5\r\nConnection: close\r\n\r\n"
        )
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"hello")
        assert Answer(await reader.read()).status == 200
    writer.close()
    request = await recorder.recorded()
    assert request.body == b"hello"
    assert request.from_outside == [b"Host: localhost", b"Content-Length: 5"]


async def test_many_requests_on_one_connection(recorder: Site) -> None:
    """A connection is kept, and requests that are sent ahead are answered in order."""
    reader, writer = await asyncio.open_connection("127.0.0.1", recorder.port)
    async with asyncio.timeout(PATIENCE):
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 5)
        for _ in range(5):
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"\r\nContent-Length: 2\r\n" in head
            assert b"Connection" not in head
            assert await reader.readexactly(2) == b"ok"
    writer.close()


@pytest.mark.parametrize(
    "framing",
    ["Content-Length: 4097", "Transfer-Encoding: chunked"],
)
async def test_a_body_that_is_too_large(
    recorder: Site, framing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than 32 MiB (here: 4 KiB) is refused, and the app sees none of it."""
    assert http_server.MAX_BODY == 32 * 2**20
    monkeypatch.setattr(http_server, "MAX_BODY", 4096)
    body = b"x" * 4097
    if framing.endswith("chunked"):
        body = b"1001\r\n" + body + b"\r\n0\r\n\r\n"
    answer = await recorder.get("/", framing, method="POST", body=body)
    assert answer.status == 413
    assert answer.all("Content-Type") == ["text/plain; charset=utf-8"]
    assert not list(recorder.folder.glob("request-*"))


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: \xe9\r\nConnection: close\r\n\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-AppEngine-TaskName : t\r\n\r\n",
        (
            b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n"
            b" X-AppEngine-TaskName: t\r\n\r\n"
        ),
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: \x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX\xe9: b\r\n\r\n",
        (
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        ),
        (
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n"
            b"Content-Length: 4\r\n\r\nabcd"
        ),
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: a\rX-B: b\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
async def test_what_cannot_be_sent_on_is_refused(
    recorder: Site, request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer is 400 in plain text, the log has a line, the app hears nothing."""
    with caplog.at_level("DEBUG"):
        answer = Answer(await recorder.send(request_bytes))
    assert answer.status == 400
    assert answer.all("Content-Type") == ["text/plain; charset=utf-8"]
    assert b"Traceback" not in answer.body
    assert "400" in caplog.text
    assert "Traceback" not in caplog.text
    assert not list(recorder.folder.glob("request-*"))


@pytest.mark.parametrize(
    ("target", "host"),
    [("/", "elsewhere.test"), ("http://elsewhere.test/", "localhost")],
)
async def test_a_request_for_another_host_is_refused(
    recorder: Site, target: str, host: str, caplog: pytest.LogCaptureFixture
) -> None:
    """421 in plain text; the app hears nothing, and aiohttp has nothing to warn of."""
    data = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    answer = Answer(await recorder.send(data.encode()))
    assert answer.status == 421
    assert answer.all("Content-Type") == ["text/plain; charset=utf-8"]
    assert b"elsewhere.test" in answer.body
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []
    assert not list(recorder.folder.glob("request-*"))


async def test_the_front_is_no_proxy(recorder: Site) -> None:
    """CONNECT is refused."""
    answer = await recorder.get("elsewhere.test:80", method="CONNECT")
    assert answer.status == 405


async def test_an_upgrade_is_declined(recorder: Site) -> None:
    """App Engine's standard environment has no WebSockets: an ordinary request."""
    answer = await recorder.send(
        b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\n"
        b"Upgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n"
    )
    assert Answer(answer).status == 200
    assert b"Upgrade" not in (await recorder.recorded()).head


async def test_a_request_is_sent_only_once(rude: Site) -> None:
    """A GET whose connection broke may have been run: the client decides what next."""
    answer = await rude.get("/")
    assert answer.status == 502
    assert b"closed the connection" in answer.body
    await rude.recorded()


async def test_headers_of_the_answer_go_back_as_they_are(site: Site) -> None:
    """Repeated ones and those in Latin-1 too; none is added to gunicorn's."""
    assert (await site.get("/cookies")).all("Set-Cookie") == ["a=1", "b=2"]
    answer = await site.get("/latin-1")
    assert b"\r\nX-Name: caf\xe9\r\n" in answer.raw_head
    answer = await site.get("/untyped")
    names = sorted(name for name, _ in answer.headers)
    assert names == ["Connection", "Content-Length", "Date", "Server"]
    assert answer.all("Server") == ["gunicorn"]
    assert (await site.get("/reason")).reason == "Very Well"


async def test_a_compressed_answer_stays_compressed(site: Site) -> None:
    """Nothing is unpacked, whether the client accepts it or not."""
    answer = await site.get("/gzip")
    assert answer.all("Content-Encoding") == ["gzip"]
    assert gzip.decompress(answer.body) == b"x" * 99


async def test_a_redirect_is_the_clients_to_follow(site: Site) -> None:
    """The client gets the redirect, not what it leads to."""
    answer = await site.get("/redirect")
    assert (answer.status, answer.all("Location")) == (302, ["/plain"])


@pytest.mark.parametrize(
    ("method", "target", "status", "length"),
    [
        ("HEAD", "/plain", 200, ["5"]),
        ("GET", "/empty", 204, []),
        ("GET", "/unchanged", 304, []),
    ],
)
async def test_answers_without_a_body(
    site: Site, method: str, target: str, status: int, length: list[str]
) -> None:
    """The connection can take the next request right after the head."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    request = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    async with asyncio.timeout(PATIENCE):
        for _ in range(2):
            writer.write(request)
            answer = Answer(await reader.readuntil(b"\r\n\r\n"))
            assert answer.status == status
            assert answer.all("Content-Length") == length
            assert answer.all("Transfer-Encoding") == []
    writer.close()


async def test_an_answer_is_sent_on_while_it_is_made(site: Site) -> None:
    """The first part is there before the app has made the second."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    async with asyncio.timeout(PATIENCE):
        writer.write(
            b"GET /stream HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        assert b"chunked" in await reader.readuntil(b"5\r\nfirst\r\n")
        (site.folder / "go").touch()
        assert await reader.read() == b"6\r\nsecond\r\n0\r\n\r\n"
    writer.close()


async def test_a_stream_for_an_old_client(site: Site) -> None:
    """HTTP/1.0 has no chunks: the end of the connection ends the answer."""
    (site.folder / "go").touch()
    answer = Answer(await site.send(b"GET /stream HTTP/1.0\r\n\r\n"))
    assert answer.body == b"firstsecond"
    assert answer.all("Transfer-Encoding") == []


async def test_an_answer_that_breaks_off_is_cut(site: Site) -> None:
    """The client must not take a part for the whole."""
    with contextlib.suppress(ConnectionResetError):
        answer = await site.get("/breaks-off")
        assert answer.body in (b"", b"first")
        assert answer.all("Content-Length") == ["99"]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_an_answer_without_a_length_that_breaks_off_is_cut(
    site: Site, version: str
) -> None:
    """Its last chunk is not sent; without chunks, only a reset tells of it."""
    head = f"GET /breaks-off-somewhere HTTP/{version}\r\nHost: localhost\r\n\r\n"
    with pytest.raises(ConnectionResetError):
        await site.send(head.encode())


async def test_a_worker_that_dies_is_a_502(site: Site) -> None:
    """In plain text, and the next request is answered by the next worker."""
    answer = await site.get("/crash")
    assert answer.status == 502
    assert answer.all("Content-Type") == ["text/plain; charset=utf-8"]
    assert (await site.get("/plain")).body == b"hello"


async def test_a_client_that_does_not_wait(site: Site) -> None:
    """Its request ends with the app's work, and nothing is logged as an error."""
    _, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await until(lambda: len(site.requests) == 1)
    writer.transport.abort()
    (site.folder / "go").touch()
    await until(lambda: len(site.requests) == 0)
    assert (await site.get("/plain")).status == 200


async def test_a_client_that_takes_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its connection is cut after a while, so it holds none of the app's threads."""
    monkeypatch.setattr(http_server, "STALLED_SECONDS", 0.1)
    _, writer = await asyncio.open_connection("127.0.0.1", site.port)
    with caplog.at_level("INFO", "gae_devserver.request"):
        writer.write(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await until(lambda: len(site.requests) == 1)
        await until(lambda: len(site.requests) == 0)
    assert any("client" in message for message in caplog.messages)
    writer.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition while the loop runs."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.01)


async def test_the_ticket_is_good_while_the_request_runs(site: Site) -> None:
    """It is known with its URL until the answer is sent, and then no more."""
    ended: list[str] = []
    site.requests.on_end(ended.append)
    request = asyncio.create_task(site.get("/stream?x"))
    await until(lambda: len(site.requests) == 1)
    (ticket,) = site.requests._urls
    assert ticket in site.requests
    assert site.requests.url(ticket) == "http://localhost/stream?x"
    assert ended == []
    (site.folder / "go").touch()
    await request
    await until(lambda: ended == [ticket])
    assert ticket not in site.requests
    assert site.requests.url(ticket) is None
    assert site.requests.url(None) is None


async def test_requests_wait_for_a_restart(site: Site) -> None:
    """While the app restarts, no request fails; the new process answers."""
    old = (await site.get("/pid")).body
    site.supervisor.restart()
    answers = await asyncio.gather(*(site.get("/pid") for _ in range(20)))
    assert {answer.status for answer in answers} == {200}
    assert {answer.body for answer in answers} != {old}
    assert len({answer.body for answer in answers}) == 1


async def test_a_request_may_end_in_the_old_process(site: Site) -> None:
    """What the old process is still answering is answered."""
    request = asyncio.create_task(site.get("/stream"))
    await until(lambda: len(site.requests) == 1)
    site.supervisor.restart()
    await site.get("/plain")
    (site.folder / "go").touch()
    assert b"second" in (await request).body


async def test_an_app_that_is_not_running_is_a_503(rude: Site) -> None:
    """The answer is the reason, in plain text; tasks are not sent."""
    (rude.folder / "main.py").write_text("raise RuntimeError('broken app')")
    rude.supervisor.restart()
    answer = await rude.get("/plain")
    assert answer.status == 503
    assert answer.all("Content-Type") == ["text/plain; charset=utf-8"]
    assert b"exit status 1" in answer.body
    assert b"RuntimeError: broken app" in answer.body
    with pytest.raises(AppUnavailable, match="broken app"):
        await rude.front.dispatch_task("POST", "/plain", [], b"", deadline=1)


async def test_the_log_has_a_line_for_each_request(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """Method, target, status and milliseconds."""
    with caplog.at_level("INFO", "gae_devserver.request"):
        await site.get("/plain?x=%41")
        await site.get("/error", method="POST")
    lines = [re.sub(r"\d+ ms", "N ms", message) for message in caplog.messages]
    assert lines == ["GET /plain?x=%41 200 N ms", "POST /error 500 N ms"]


async def test_a_task_as_app_engine_sends_it(recorder: Site) -> None:
    """With the task's headers, the task queue's address, the body, and a host."""
    status = await recorder.front.dispatch_task(
        "POST",
        "/custom/path?x=%zz",
        [
            ("X-Appengine-Taskname", "t1"),
            ("Content-Type", "a/b"),
            # bytes that are UTF-8, as the task queue hands them over
            ("X-Name", "café".encode().decode("latin-1")),
            ("X-AppEngine-User-IP", "8.8.8.8"),
        ],
        b"payload",
        deadline=PATIENCE,
    )
    assert status == 200
    request = await recorder.recorded()
    assert request.request_line == b"POST /custom/path?x=%zz HTTP/1.1"
    assert request.body == b"payload"
    assert b"X-Name: caf\xc3\xa9" in request.lines
    headers = request.headers
    assert headers["Host"] == f"localhost:{recorder.port}"
    assert headers["Content-Length"] == "7"
    assert headers["X-Appengine-Taskname"] == "t1"
    assert headers["X-Appengine-Remote-Addr"] == "0.1.0.2"
    assert headers["X-Appengine-Country"] == "ZZ"
    assert headers["X-Appengine-Server-Port"] == str(recorder.port)
    assert re.fullmatch("[0-9a-f]{32}", headers["X-Appengine-Api-Ticket"])
    ips = [line for line in request.lines if line.lower().startswith(b"x-appengine-u")]
    assert [line for line in ips if b"-ip:" in line.lower()] == [
        b"X-Appengine-User-IP: 0.1.0.2"
    ]
    assert len(recorder.requests) == 0


async def test_a_task_with_a_host_of_its_own(recorder: Site) -> None:
    """It is kept."""
    headers = [("Host", "v2.a.test")]
    await recorder.front.dispatch_task("GET", "/", headers, b"", deadline=PATIENCE)
    request = await recorder.recorded()
    assert request.headers["Host"] == "v2.a.test"
    assert request.headers["Content-Length"] == "0"


async def test_the_status_of_a_task(site: Site) -> None:
    """Any answer's status is the result, a redirect's too."""
    dispatch = site.front.dispatch_task
    for target, status in (("/plain", 200), ("/error", 500), ("/redirect", 302)):
        assert await dispatch("POST", target, [], b"", deadline=PATIENCE) == status


async def test_a_task_over_its_deadline(site: Site) -> None:
    """It is cut off, and its ticket is good no more."""
    dispatch = site.front.dispatch_task("POST", "/hang", [], b"", deadline=0.3)
    task = asyncio.ensure_future(dispatch)
    await asyncio.wait({task}, timeout=PATIENCE)
    assert task.done()
    with pytest.raises(TimeoutError):
        await task
    assert len(site.requests) == 0


async def test_a_task_whose_worker_dies(site: Site) -> None:
    """A broken connection is told apart from an answer."""
    with pytest.raises(ConnectionError, match="closed the connection"):
        await site.front.dispatch_task("POST", "/crash", [], b"", deadline=PATIENCE)


async def test_a_task_is_not_sent_while_the_app_restarts(site: Site) -> None:
    """It stays in its queue, where it can be held or deleted."""
    dispatch = site.front.dispatch_task
    site.supervisor.restart()
    with pytest.raises(AppUnavailable):
        await dispatch("POST", "/plain", [], b"", deadline=PATIENCE)
    await site.supervisor.process()
    assert await dispatch("POST", "/plain", [], b"", deadline=PATIENCE) == 200


@pytest.mark.parametrize("header", [("X-A", "a\r\nb"), ("X-A\r\nX-B", "c")])
async def test_a_task_that_is_no_http(recorder: Site, header: tuple[str, str]) -> None:
    """It fails as a task; nothing of it reaches the app."""
    with pytest.raises(ConnectionError):
        await recorder.front.dispatch_task("POST", "/", [header], b"", deadline=5)
    assert not list(recorder.folder.glob("request-*"))


async def test_the_warm_up_request(recorder: Site) -> None:
    """A GET from the address by which App Engine's own is known."""
    await recorder.front.warm_up(await recorder.supervisor.process())
    request = await recorder.recorded()
    assert request.request_line == b"GET /_ah/warmup HTTP/1.1"
    assert request.headers["X-Appengine-User-IP"] == "0.1.0.3"
    assert request.headers["X-Appengine-Remote-Addr"] == "0.1.0.3"
    assert request.headers["Host"] == f"localhost:{recorder.port}"


async def test_a_warm_up_that_fails_stops_nothing(
    rude: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """It is a line in the log."""
    await rude.front.warm_up(await rude.supervisor.process())
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "GET /_ah/warmup" in record.getMessage()
    assert "closed the connection" in record.getMessage()
