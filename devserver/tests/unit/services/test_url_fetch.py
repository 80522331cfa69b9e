"""URL Fetch, on servers of this machine."""

import asyncio
import contextlib
import gzip
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from google.appengine.api import urlfetch_service_pb2 as pb

from gae_devserver.http.own_fetches import OwnFetches
from gae_devserver.http.sockets import listen
from gae_devserver.services.url_fetch import UrlFetch
from tests.helpers.calls import AppRequest, Server, code_of
from tests.helpers.tls import Authority
from tests.helpers.waiting import PATIENCE

pytestmark = pytest.mark.asyncio

ERRORS = pb.URLFetchServiceError
LIMIT = 2**16


class Site:
    """A server on loopback, and what it was asked."""

    def __init__(self, own_fetches: OwnFetches | None = None) -> None:
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.url = ""
        self.own_fetches = own_fetches
        self.inbound: Mapping[str, str] = {}

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer as the path says."""
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.asked.append((f"{request.method} {request.raw_path}", headers, body))
        if self.own_fetches is not None:
            self.inbound = self.own_fetches.inbound_headers(request)
        first, _, rest = request.path.lstrip("/").partition("/")
        if first == "slow":
            stream = web.StreamResponse()
            if rest == "close":
                stream.force_close()
            await stream.prepare(request)
            with contextlib.suppress(ConnectionError):
                while True:
                    await stream.write(b".")
                    await asyncio.sleep(0.02)
        if first == "large":
            body = gzip.compress(bytes(int(rest)))
            return web.Response(body=body, headers={"Content-Encoding": "gzip"})
        if first == "hops" and rest != "0":
            return web.Response(status=302, headers={"Location": f"{int(rest) - 1}"})
        if first.isdigit():
            location = {"Location": f"/{rest}"} if rest else {}
            return web.Response(status=int(first), headers=location)
        return web.Response(body=body or b"hello")


@pytest_asyncio.fixture
async def make_site() -> AsyncIterator[Callable[..., Any]]:
    """Start a server, with TLS if it gets a context."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(context: ssl.SSLContext | None = None) -> Site:
            site = Site()
            runner = web.ServerRunner(web.Server(site.answer), shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
            scheme = "http" if context is None else "https"
            site.url = f"{scheme}://127.0.0.1:{runner.addresses[0][1]}"
            return site

        yield make


@pytest_asyncio.fixture
async def site(make_site: Callable[..., Any]) -> Site:
    """A server without TLS."""
    return await make_site()


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """A certificate authority that the server trusts."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    return authority


async def fetch(
    api: AppRequest, url: str, method: str = "GET", *headers: tuple[str, str], **f: Any
) -> Any:
    """Fetch a URL as the SDK's client does."""
    number = pb.URLFetchRequest.RequestMethod.Value(method)
    request = pb.URLFetchRequest(Url=url, Method=number, **f)
    for name, value in headers:
        request.header.add(Key=name, Value=value)
    call = api.call("urlfetch", "Fetch", request)
    return await asyncio.wait_for(call, PATIENCE)


async def test_https_with_a_certificate_of_a_known_authority(
    api: AppRequest, authority: Authority, make_site: Callable[..., Any]
) -> None:
    """The certificate is checked, against the authorities of SSL_CERT_FILE."""
    site = await make_site(authority.server_context("127.0.0.1"))
    answer = await fetch(api, f"{site.url}/a")
    assert (answer.StatusCode, answer.Content) == (200, b"hello")


@pytest.mark.parametrize("fault", ["host", "expired", "unknown authority"])
async def test_https_with_a_certificate_that_is_not_valid(
    api: AppRequest,
    authority: Authority,
    tmp_path_factory: pytest.TempPathFactory,
    make_site: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
    fault: str,
) -> None:
    """The fetch fails and a line says why, unless the app asks for no check."""
    if fault == "unknown authority":
        authority = Authority(tmp_path_factory.mktemp("other"))
    host = "other.example" if fault == "host" else "127.0.0.1"
    context = authority.server_context(host, days=-1 if fault == "expired" else 1)
    site = await make_site(context)
    assert await code_of(fetch(api, site.url)) == ERRORS.SSL_CERTIFICATE_ERROR
    assert site.url in caplog.text
    assert ("SSL_CERT_FILE" in caplog.text) is (fault == "unknown authority")
    assert site.asked == []
    answer = await fetch(api, site.url, MustValidateServerCertificate=False)
    assert answer.StatusCode == 200


async def test_redirects(api: AppRequest, site: Site) -> None:
    """Up to five are followed; `FinalUrl` is absolute."""
    answer = await fetch(api, f"{site.url}/hops/5")
    assert (answer.StatusCode, answer.FinalUrl) == (200, f"{site.url}/hops/0")
    loop = fetch(api, f"{site.url}/hops/6")
    assert await code_of(loop) == ERRORS.TOO_MANY_REDIRECTS
    answer = await fetch(api, f"{site.url}/302/ok", FollowRedirects=False)
    assert (answer.StatusCode, answer.FinalUrl) == (302, "")
    assert ("Location", "/ok") in [(h.Key, h.Value) for h in answer.header]
    for wrong in ("/302", "/302//[::1"):
        assert await code_of(fetch(api, site.url + wrong)) == ERRORS.MALFORMED_REPLY


@pytest.mark.parametrize(
    ("method", "status", "then"),
    [
        ("POST", 301, "GET"),
        ("POST", 302, "GET"),
        ("PUT", 303, "GET"),
        ("HEAD", 303, "HEAD"),
        ("POST", 307, "POST"),
        ("PATCH", 308, "PATCH"),
    ],
)
async def test_the_method_after_a_redirect(
    api: AppRequest, site: Site, method: str, status: int, then: str
) -> None:
    """Only 307 and 308 keep the payload and its type."""
    headers = [("content-type", "text/x"), ("X-Own", "1")]
    await fetch(api, f"{site.url}/{status}/ok", method, *headers, Payload=b"data")
    asked, sent, body = site.asked[-1]
    kept = then in ("POST", "PATCH")
    assert (asked, body) == (f"{then} /ok", b"data" if kept else b"")
    assert sent["x-own"] == "1"
    if method != "HEAD":
        assert ("content-type" in sent) is kept


async def test_headers(api: AppRequest, site: Site) -> None:
    """URL Fetch names itself, and sends no header that an app cannot set."""
    forged = [(n, "x") for n in ("Host", "Via", "X-Appengine-Inbound-Appid")]
    own = [("User-Agent", "me"), ("X-Own", "é"), ("Content-Length", "7")]
    await fetch(api, f"{site.url}/a b?c=é#d", "POST", *forged, *own, Payload=b"x=1")
    ((asked, headers, body),) = site.asked
    assert (asked, body) == ("POST /a%20b?c=%C3%A9", b"x=1")
    assert headers["host"] == site.url.removeprefix("http://")
    assert headers["user-agent"].startswith("me AppEngine-Google")
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert headers["x-own"].encode("utf-8", "surrogateescape") == "é".encode()
    assert not {"via", "x-appengine-inbound-appid"} & headers.keys()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "worker.localhost", "v1.worker.LOCALHOST."]
)
async def test_a_fetch_of_the_app_itself(
    make_server: Callable[..., Server], site: Site, host: str
) -> None:
    """Only its receiver learns the project, and only if it follows no redirects."""
    with contextlib.ExitStack() as stack:
        sockets = listen(0, host=None)
        for sock in sockets:
            stack.callback(sock.close)
        own_fetches = OwnFetches("unit", sockets)
        own = Site(own_fetches)
        runner = web.ServerRunner(web.Server(own.answer), shutdown_timeout=0.1)
        await runner.setup()
        for sock in sockets:
            await web.SockSite(runner, sock).start()
        api = make_server(own_fetches=own_fetches).request()
        url = f"http://{host}:{sockets[0].getsockname()[1]}"
        await fetch(api, f"{url}/a", FollowRedirects=False)
        assert own.inbound == {"X-Appengine-Inbound-Appid": "unit"}
        ((_, secret, _),) = own.asked
        await fetch(api, f"{url}/a", FollowRedirects=True)
        assert own.inbound == {}
        (name,) = [name for name in secret if name.startswith("x-appengine")]
        await fetch(api, f"{url}/a", "GET", (name, "x"))
        assert own.inbound == {}
        await fetch(api, f"{site.url}/a", FollowRedirects=False)
        ((_, others, _),) = site.asked
        assert name not in others
        await runner.cleanup()


async def test_large_answers_are_cut(
    make_server: Callable[..., Server], site: Site
) -> None:
    """The client raises ResponseTooLargeError, unless it allows this."""
    api = make_server(make_stub=lambda *_: UrlFetch(max_answer=LIMIT)).request()
    for size in (LIMIT, 100 * LIMIT):
        answer = await fetch(api, f"{site.url}/large/{size}")
        assert answer.ContentWasTruncated is (size > LIMIT)
        assert answer.Content == bytes(LIMIT)
        headers = {header.Key.lower(): header.Value for header in answer.header}
        assert headers["content-length"] == str(LIMIT)
        assert "content-encoding" not in headers


async def test_the_deadline_is_for_the_whole_fetch(
    make_server: Callable[..., Server], site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that sends a byte now and then does not prolong it."""
    api = make_server().request()
    for path in ("/slow", "/slow/close"):
        slow = fetch(api, site.url + path, Deadline=0.3)
        assert await code_of(slow) == ERRORS.DEADLINE_EXCEEDED
    api = make_server(make_stub=lambda *_: UrlFetch(deadline=0.3)).request()
    assert await code_of(fetch(api, f"{site.url}/slow")) == ERRORS.DEADLINE_EXCEEDED
    assert "/slow failed: no complete answer within 0.3 s" in caplog.text


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("ftp://host/", ERRORS.INVALID_URL),
        ("http:///path", ERRORS.INVALID_URL),
        ("/path", ERRORS.INVALID_URL),
        ("http://host:22/", ERRORS.INVALID_URL),
        ("http://host:99999/", ERRORS.INVALID_URL),
        ("http://[::1/", ERRORS.INVALID_URL),
        ("http://a..b/", ERRORS.INVALID_URL),
        ("http://host/" + "a" * 10240, ERRORS.INVALID_URL),
        ("http://no-such-host.invalid/", ERRORS.DNS_ERROR),
    ],
)
async def test_a_url_that_cannot_be_fetched(
    api: AppRequest, url: str, code: int
) -> None:
    """The error tells a wrong URL from a server that cannot be reached."""
    assert await code_of(fetch(api, url)) == code


async def test_a_header_that_http_forbids(api: AppRequest, site: Site) -> None:
    """Nothing is sent."""
    split = fetch(api, site.url, "GET", ("X-Own", "a\r\nX-Forged: 1"))
    assert await code_of(split) == ERRORS.FETCH_ERROR
    assert site.asked == []


async def test_a_proxy(
    api: AppRequest,
    make_site: Callable[..., Any],
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A proxy of the environment gets fetches of other machines, none of this one."""
    proxy = await make_site()
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", proxy.url)
    await fetch(api, "http://other.example/a")
    await fetch(api, f"{site.url}/b")
    assert [asked for asked, _, _ in proxy.asked] == ["GET http://other.example/a"]
    assert [asked for asked, _, _ in site.asked] == ["GET /b"]
