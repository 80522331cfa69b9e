"""The public port: what the app gets of a request, and what the client gets back."""

import asyncio
import gzip
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from multidict import CIMultiDict

from gae_devserver.app.client import Request
from gae_devserver.app.supervisor import AppUnavailable
from gae_devserver.http.limits import DEFAULT_LIMITS
from gae_devserver.http.task_sender import TaskSender
from tests.helpers.app_folder import RECORDER
from tests.helpers.http_messages import Answer
from tests.helpers.site import Site, running
from tests.helpers.waiting import PATIENCE, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

# A WSGI app with an answer for each awkward case.
ANSWERS = """\
import gzip, os, pathlib, threading

def wait_for(name):
    while not pathlib.Path(name).exists():
        threading.Event().wait(0.01)

def stream(first=b"first"):
    yield first
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
    "/large": ("200 OK", [], [b"x" * 2**20] * 33),
    "/many-headers": ("200 OK", [(f"X-{i}", "x") for i in range(300)], [b"x"]),
    "/large-head": ("200 OK", [("X-Large", "x" * 9000)], [b"x"]),
    "/error": ("500 Internal Server Error", [], [b"sorry"]),
}

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/pid":
        status, headers, body = "200 OK", [], [str(os.getpid()).encode()]
    elif path == "/hang":
        wait_for("never")
    elif path == "/breaks-off":
        status, headers, body = "200 OK", [("Content-Length", "99")], breaks_off()
    elif path == "/breaks-off-somewhere":
        status, headers, body = "200 OK", [], breaks_off()
    elif path == "/large-stream":
        status, headers, body = "200 OK", [], iter([b"x" * 2**20] * 33)
    elif path == "/stream":
        status, headers, body = "200 OK", [], stream()
    elif path == "/ticket":
        ticket = environ["HTTP_X_APPENGINE_API_TICKET"].encode()
        status, headers, body = "200 OK", [], stream(ticket)
    else:
        status, headers, body = ANSWERS[path]
        if path not in ("/empty", "/unchanged"):
            headers = headers + [("Content-Length", str(len(b"".join(body))))]
    start_response(status, headers)
    return body
"""

# Takes a request, keeps its bytes, and closes the connection without an answer.
RUDE = re.sub(r"self\.wfile\.write\(.*\)", "return", RECORDER)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """The site of `site`, for all tests."""
    async with running(tmp_path_factory.mktemp("site"), ANSWERS) as site:
        yield site


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
        "/?",
        "/x?a=%zz&b=%C3%A9+c",
        "//x//./y/",
        "/evil/../custom/path",
        "/%2e%2e/%2F%5c%20",
        "/a;b=c,d:e@f!$&'()*",
        '/a|b"<>{}^`\\',
        "/a?b?c=d#e",
        "http://LOCALHOST/x?y",
        "/" + "long" * 1500,
    ],
)
async def test_the_target_arrives_byte_for_byte(recorder: Site, target: str) -> None:
    """No part of it is resolved, decoded, encoded or dropped."""
    assert (await recorder.get(target)).status == 200
    request = await recorder.recorded()
    assert request.request_line == f"GET {target} HTTP/1.1".encode()


async def test_gunicorn_takes_what_the_front_takes(site: Site) -> None:
    """The largest request reaches the app; App Engine's own headers come on top."""
    limits = DEFAULT_LIMITS
    target = "/plain?".ljust(limits.target, "x")
    # with Host and Connection
    headers = [f"X-{i}: a" for i in range(limits.headers - 3)]
    answer = await site.get(target, "X-Long: ".ljust(limits.header, "x"), *headers)
    assert (answer.status, answer.body) == (200, b"hello")


async def test_headers_arrive_as_they_were(recorder: Site) -> None:
    """Headers keep their order and spelling; none is lost, and none is added."""
    sent = ["User-agent: me", "Cookie: a=b", "X-Z: 1", "COOKIE: c=d", "X-Z: é", "X-Y:"]
    await recorder.get("/", *sent)
    request = await recorder.recorded()
    # a repeated name is spelled as the first time
    sent = ["User-agent: me", "Cookie: a=b", "X-Z: 1", "Cookie: c=d", "X-Z: é", "X-Y: "]
    expected = ["Host: localhost", *sent]
    assert request.from_outside == [line.encode() for line in expected]


async def test_headers_of_a_connection_stay_on_it(recorder: Site) -> None:
    """Hop-by-hop headers are dropped, and those that Connection names.

    An upgrade is declined, as App Engine's standard environment does it.
    """
    answer = await recorder.send(
        b"GET / HTTP/1.1\r\nHost: localhost\r\n"
        b"Connection: Upgrade, close, X-Mine, Host\r\nUpgrade: websocket\r\n"
        b"X-Mine: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nTrailer: X\r\n"
        b"Proxy-Authorization: x\r\nProxy-Connection: y\r\nX-Other: 2\r\n"
        b"Expect: 100-continue\r\n\r\n"
    )
    request = await recorder.recorded()
    assert request.from_outside == [b"Host: localhost", b"X-Other: 2"]
    assert b"HTTP/1.1 200 " in answer


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "script_name", "PATH_INFO"])
async def test_what_gunicorn_takes_from_a_proxy_is_dropped(
    recorder: Site, site: Site, name: str
) -> None:
    """A client cannot set the app's mount point; gunicorn trusts those headers."""
    await recorder.get("/", f"{name}: /evil")
    assert (await recorder.recorded()).from_outside == [b"Host: localhost"]
    assert (await site.get("/plain", f"{name}: /evil")).body == b"hello"


async def test_app_engines_own_headers(recorder: Site) -> None:
    """The app gets what App Engine adds, but no X-Forwarded-Proto.

    With "http", an app may redirect to HTTPS, which this server does not have.
    """
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
        "City": "?",
        "Citylatlong": "0.000000,0.000000",
        "Country": "ZZ",
        "Default-Version-Hostname": f"localhost:{recorder.port}",
        "Https": "off",
        "Region": "?",
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
    assert headers["X-Forwarded-For"] == "127.0.0.1, 169.254.1.1"
    assert re.fullmatch("[0-9a-f]{32}/[0-9]+", headers["X-Cloud-Trace-Context"])
    assert {name for name in headers if "Appengine" not in name} == {
        "Host",
        "X-Cloud-Trace-Context",
        "X-Forwarded-For",
    }


async def test_the_address_of_an_ipv6_client(recorder: Site) -> None:
    """The app sees ::1 as the address of such a client."""
    if not recorder.has_ipv6:
        pytest.skip("this machine has no IPv6 loopback address")
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    await recorder.send(request, "::1")
    headers = (await recorder.recorded()).headers
    assert headers["X-Appengine-User-IP"] == "::1"
    assert headers["X-Forwarded-For"] == "::1, 169.254.1.1"


async def test_a_request_without_host(recorder: Site) -> None:
    """HTTP/1.0 requires no Host; the app gets the server's own."""
    answer = Answer(await recorder.send(b"GET /old HTTP/1.0\r\n\r\n"))
    assert (answer.status, answer.body) == (200, b"ok")
    headers = (await recorder.recorded()).headers
    assert headers["Host"] == f"localhost:{recorder.port}"


@pytest.mark.parametrize("method", ["POST", "DELETE", "GET"])
async def test_a_body_arrives(recorder: Site, method: str) -> None:
    """A body arrives with its length and type, whatever the method."""
    body = bytes(range(256)) * 400
    length, kind = f"Content-Length: {len(body)}", "Content-Type: a/b"
    await recorder.get("/", length, kind, method=method, body=body)
    request = await recorder.recorded()
    assert request.body == body
    assert request.from_outside == [b"Host: localhost", kind.encode(), length.encode()]


async def test_a_chunked_body_arrives_whole(recorder: Site) -> None:
    """The app gets a Content-Length, which the SDK's handler requires; no trailer."""
    body = b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-Mine: x\r\n\r\n"
    await recorder.get("/", "Transfer-Encoding: chunked", method="POST", body=body)
    request = await recorder.recorded()
    assert request.body == b"hello world"
    assert request.from_outside == [b"Host: localhost", b"Content-Length: 11"]


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_compressed_body_stays_compressed(
    recorder: Site, chunked: bool
) -> None:
    """A megabyte may decompress to a gigabyte, and block every other request."""
    body = sent = gzip.compress(b"hello")
    framing = f"Content-Length: {len(body)}"
    if chunked:
        framing = "Transfer-Encoding: chunked"
        sent = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    encoding = "Content-Encoding: gzip"
    await recorder.get("/", framing, encoding, method="POST", body=sent)
    assert (await recorder.recorded()).body == body


async def test_many_requests_on_one_connection(site: Site) -> None:
    """A connection stays open, and pipelined requests are answered in order."""
    async with site.connected() as (reader, writer):
        writer.write(b"GET /plain HTTP/1.1\r\nHost: localhost\r\n\r\n" * 5)
        for _ in range(5):
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"\r\nContent-Length: 5\r\n" in head
            assert b"Connection" not in head
            assert await reader.readexactly(5) == b"hello"


@pytest.mark.parametrize(
    ("status", "request_line", "header"),
    [
        (400, b"GET / HTTP/1.1", b"X-A: \xe9"),
        (400, b"GET / HTTP/1.1", b"X\xe9: b"),
        (400, b"GET /\xc3\xa9 HTTP/1.1", b"X-A: b"),
        (400, b"\x16\x03\x01\x02\x00\x01\x00", b"X-A: b"),
        (405, b"CONNECT elsewhere.test:80 HTTP/1.1", b"X-A: b"),
        (421, b"GET http://elsewhere.test/ HTTP/1.1", b"X-A: b"),
        (421, b"GET / HTTP/1.0", b"Host: elsewhere.test"),
        (413, b"POST / HTTP/1.1", b"Content-Length: 33554433"),
    ],
)
async def test_what_is_not_for_the_app_is_refused(
    recorder: Site,
    status: int,
    request_line: bytes,
    header: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The answer is plain text, the log has a line, and the app gets nothing."""
    lines = [request_line, header, b"Connection: close"]
    if not header.startswith(b"Host"):
        lines.append(b"Host: localhost")
    with caplog.at_level("DEBUG"):
        answer = Answer(await recorder.send(b"\r\n".join([*lines, b"", b""])))
    assert answer.status == status
    assert answer.all("Content-Type") == ["text/plain; charset=utf-8"]
    assert (b"elsewhere.test" in answer.body) is (status == 421)
    assert str(status) in caplog.text
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []
    assert recorder.is_unasked()


async def test_a_request_is_sent_only_once(
    rude: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """The app may have run what broke the connection; a task fails, too."""
    answer = await rude.get("/")
    assert answer.status == 502
    assert answer.all("Content-Type") == ["text/plain; charset=utf-8"]
    assert b"closed the connection" in answer.body
    assert "closed the connection" in caplog.text
    await rude.recorded()
    with pytest.raises(ConnectionError, match="closed the connection"):
        await rude.dispatch("/")
    await rude.recorded()


async def test_answers_go_back_as_they_are(site: Site) -> None:
    """Repeated and Latin-1 headers, compressed bodies and redirects are unchanged."""
    assert (await site.get("/cookies")).all("Set-Cookie") == ["a=1", "b=2"]
    assert b"\r\nX-Name: caf\xe9\r\n" in (await site.get("/latin-1")).raw_head
    assert (await site.get("/reason")).reason == "Very Well"
    answer = await site.get("/redirect")
    assert (answer.status, answer.all("Location")) == (302, ["/plain"])
    answer = await site.get("/gzip")
    assert answer.all("Content-Encoding") == ["gzip"]
    assert gzip.decompress(answer.body) == b"x" * 99


async def test_no_header_is_added_to_an_answer(site: Site) -> None:
    """The client gets only those of gunicorn."""
    answer = await site.get("/untyped")
    names = sorted(name for name, _ in answer.headers)
    assert names == ["Connection", "Content-Length", "Date", "Server"]
    assert answer.all("Server") == ["gunicorn"]


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
    """The next request can follow right after the head."""
    request = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    async with site.connected() as (reader, writer):
        for _ in range(2):
            writer.write(request)
            answer = Answer(await reader.readuntil(b"\r\n\r\n"))
            assert answer.status == status
            assert answer.all("Content-Length") == length
            assert answer.all("Transfer-Encoding") == []


async def test_an_answer_is_sent_on_while_it_is_made(site: Site) -> None:
    """The first part arrives before the app has made the second."""
    async with site.connected() as (reader, writer):
        writer.write(
            b"GET /stream HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        assert b"chunked" in await reader.readuntil(b"5\r\nfirst\r\n")
        (site.folder / "go").touch()
        assert await reader.read() == b"6\r\nsecond\r\n0\r\n\r\n"


async def test_a_stream_for_an_old_client(site: Site) -> None:
    """HTTP/1.0 has no chunks, so the end of the connection ends the answer."""
    (site.folder / "go").touch()
    answer = Answer(await site.send(b"GET /stream HTTP/1.0\r\n\r\n"))
    assert answer.body == b"firstsecond"
    assert answer.all("Transfer-Encoding") == []


@pytest.mark.parametrize(
    ("target", "version"),
    [
        ("/breaks-off", "1.1"),
        ("/breaks-off-somewhere", "1.0"),
        ("/breaks-off-somewhere", "1.1"),
    ],
)
async def test_an_answer_that_breaks_off_is_cut(
    site: Site, target: str, version: str
) -> None:
    """The client must not mistake a part for the whole, with a length or without."""
    head = f"GET {target} HTTP/{version}\r\nHost: localhost\r\n\r\n"
    with pytest.raises(ConnectionResetError):
        await site.send(head.encode())


@pytest.mark.parametrize(
    ("target", "status", "limit"), [("/large", 500, 2**25), ("/large-head", 502, 8192)]
)
async def test_an_answer_that_app_engine_would_not_send(
    site: Site, caplog: pytest.LogCaptureFixture, target: str, status: int, limit: int
) -> None:
    """An answer of over 32 MiB is 500, and one with over 8 KiB of headers is 502."""
    assert (await site.get(target)).status == status
    assert str(limit) in caplog.text


async def test_an_answer_with_many_headers(site: Site) -> None:
    """Only their size is limited."""
    assert len((await site.get("/many-headers")).all("X-299")) == 1


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_stream_that_gets_too_large(
    site: Site, caplog: pytest.LogCaptureFixture, version: str
) -> None:
    """The connection is reset at the limit, and the log says why."""
    head = f"GET /large-stream HTTP/{version}\r\nHost: localhost\r\n\r\n"
    with pytest.raises(ConnectionResetError):
        await site.send(head.encode())
    assert str(2**25) in caplog.text


async def test_a_client_that_does_not_wait(site: Site) -> None:
    """A request whose client left ends with the app's answer; the next is answered."""
    async with site.connected() as (_, writer):
        writer.write(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await until(lambda: len(site.requests) == 1)
        writer.transport.abort()
    (site.folder / "go").touch()
    await until(lambda: len(site.requests) == 0)
    assert (await site.get("/plain")).status == 200


async def test_the_ticket_is_good_while_the_request_runs(site: Site) -> None:
    """A ticket and its URL are known until the answer is sent, and not after that."""
    ended: list[str] = []
    site.requests.on_end(ended.append)
    async with site.connected() as (reader, writer):
        writer.write(b"GET /ticket?x HTTP/1.0\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        ticket = (await reader.readexactly(32)).decode()
        assert site.requests.url(ticket) == "http://localhost/ticket?x"
        (site.folder / "go").touch()
        assert await reader.read() == b"second"
    await until(lambda: ended == [ticket])
    assert ticket not in site.requests
    assert site.requests.url(ticket) is None


async def test_requests_at_a_restart(site: Site) -> None:
    """No request fails: the old process ends its answers, the new one gets the rest."""
    old = (await site.get("/pid")).body
    begun = asyncio.create_task(site.get("/stream"))
    await until(lambda: len(site.requests) == 1)
    site.supervisor.restart()
    answers = await asyncio.gather(*(site.get("/pid") for _ in range(20)))
    assert {answer.status for answer in answers} == {200}
    assert {answer.body for answer in answers} != {old}
    assert len({answer.body for answer in answers}) == 1
    (site.folder / "go").touch()
    assert b"second" in (await begun).body


async def test_an_app_that_is_not_running_is_a_503(rude: Site) -> None:
    """The answer gives the reason in plain text; tasks are not sent."""
    (rude.folder / "main.py").write_text("raise RuntimeError('broken app')")
    rude.supervisor.restart()
    answer = await rude.get("/plain")
    assert answer.status == 503
    assert answer.all("Content-Type") == ["text/plain; charset=utf-8"]
    assert b"exit status 1" in answer.body
    assert b"RuntimeError: broken app" in answer.body
    with pytest.raises(AppUnavailable, match="broken app"):
        await rude.dispatch("/plain")


async def test_the_log_has_a_line_for_each_request(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """A request's log line has the method, target, status and milliseconds."""
    with caplog.at_level("INFO", "gae_devserver.request"):
        await site.get("/plain?x=%41")
        await site.get("/error", method="POST")
    lines = [re.sub(r"\d+ ms", "N ms", message) for message in caplog.messages]
    assert lines == ["GET /plain?x=%41 200 N ms", "POST /error 500 N ms"]


async def test_a_task_as_app_engine_sends_it(recorder: Site) -> None:
    """A task has its own headers and body, a host, and the task queue's address."""
    own = [
        ("X-Appengine-Taskname", "t1"),
        ("Content-Type", "a/b"),
        ("X-Name", "café"),
        ("X-AppEngine-User-IP", "8.8.8.8"),
    ]
    assert await recorder.dispatch("/custom/path?x=%zz", own, b"payload") == 200
    request = await recorder.recorded()
    assert request.request_line == b"POST /custom/path?x=%zz HTTP/1.1"
    assert request.body == b"payload"
    assert b"X-Name: caf\xc3\xa9" in request.lines
    headers = request.headers
    assert re.fullmatch("[0-9a-f]{32}", headers["X-Appengine-Api-Ticket"])
    assert (
        headers.items()
        >= {
            "Host": f"localhost:{recorder.port}",
            "Content-Length": "7",
            "X-Appengine-Taskname": "t1",
            "X-Appengine-Remote-Addr": "0.1.0.2",
            "X-Appengine-Country": "ZZ",
            "X-Appengine-Server-Port": str(recorder.port),
        }.items()
    )
    ips = [line for line in request.lines if b"user-ip:" in line.lower()]
    assert ips == [b"X-Appengine-User-IP: 0.1.0.2"]
    assert len(recorder.requests) == 0


async def test_a_task_with_its_own_host(recorder: Site) -> None:
    """The app gets this host."""
    await recorder.dispatch("/", [("Host", "v2.a.test")])
    headers = (await recorder.recorded()).headers
    assert (headers["Host"], headers["Content-Length"]) == ("v2.a.test", "0")


async def test_the_status_of_a_task(site: Site) -> None:
    """The status of any answer is the result, even of a redirect."""
    assert await site.dispatch("/error") == 500
    assert await site.dispatch("/redirect") == 302


async def test_a_task_over_the_servers_deadline(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """The process is replaced, once for all tasks in it; no ticket is left."""
    before = site.supervisor.ready_process()
    sender = TaskSender(site.supervisor, site.sender, deadline=0.3)
    task = Request("POST", "/hang", CIMultiDict())
    errors = await asyncio.gather(
        *(sender.send(task, 0.3) for _ in range(3)), return_exceptions=True
    )
    assert [type(error) for error in errors] == [TimeoutError] * 3
    assert len(site.requests) == 0
    assert sum("/hang" in line for line in caplog.messages) == 1
    after = await site.supervisor.process()
    assert after is not before
    assert await site.dispatch("/plain") == 200
    assert site.supervisor.ready_process() is after


async def test_tasks_over_deadlines_of_their_own(site: Site) -> None:
    """The app goes on with them, as in production, until they hold many threads."""
    before = site.supervisor.ready_process()
    sender = TaskSender(site.supervisor, site.sender, deadline=PATIENCE, max_overdue=3)
    for count in (1, 2, 3):
        assert site.supervisor.ready_process() is before
        with pytest.raises(TimeoutError):
            await sender.send(Request("POST", "/hang", CIMultiDict()), 0.1)
        assert len(site.requests) == count
    assert await site.supervisor.process() is not before
    await until(lambda: len(site.requests) == 0)


async def test_a_task_is_not_sent_while_the_app_restarts(site: Site) -> None:
    """A task stays in its queue during a restart, where it can be paused or deleted."""
    site.supervisor.restart()
    with pytest.raises(AppUnavailable):
        await site.dispatch("/plain")
    await site.supervisor.process()
    assert await site.dispatch("/plain") == 200


@pytest.mark.parametrize("header", [("X-A", "a\r\nb"), ("X-A\r\nX-B", "c")])
async def test_a_task_that_is_not_http(recorder: Site, header: tuple[str, str]) -> None:
    """A task whose header is not valid HTTP fails, and the app receives nothing."""
    with pytest.raises(ConnectionError):
        await recorder.dispatch("/", [header])
    assert recorder.is_unasked()


async def test_the_warm_up_request(recorder: Site) -> None:
    """The warm-up request is a GET from App Engine's own address."""
    await recorder.sender.warm_up(await recorder.supervisor.process())
    request = await recorder.recorded()
    assert request.request_line == b"GET /_ah/warmup HTTP/1.1"
    assert (
        request.headers.items()
        >= {
            "Host": f"localhost:{recorder.port}",
            "X-Appengine-User-IP": "0.1.0.3",
            "X-Appengine-Remote-Addr": "0.1.0.3",
        }.items()
    )


async def test_a_warm_up_that_fails(
    rude: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """A warm-up request that fails is logged as a warning."""
    await rude.sender.warm_up(await rude.supervisor.process())
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "GET /_ah/warmup" in record.getMessage()
    assert "closed the connection" in record.getMessage()
