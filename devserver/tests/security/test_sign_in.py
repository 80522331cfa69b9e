"""No client signs in from elsewhere, forges a session, or evades `login`."""

import contextlib
import re
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gae_devserver.users.sessions import Sessions
from gae_devserver.users.user import User
from tests.helpers.http_messages import Answer
from tests.helpers.site import Site, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Reads paths in every way that a framework may, and more.
MAIN = """\
import posixpath, re

def app(environ, start_response):
    path = posixpath.normpath(re.sub("/+", "/", environ["PATH_INFO"].lower()))
    admins = re.match("/admin(/|$)", path) and environ["PATH_INFO"].islower()
    body = b"of admins" if admins else b"of all"
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
RULES = """\
handlers:
- url: /admin
  script: auto
  login: admin
- url: /admin/.*
  script: auto
  login: admin
- url: /static
  static_dir: static
  login: required
- url: /.*
  script: auto
"""
FORM = "Content-Type: application/x-www-form-urlencoded"
ADMIN = User("root@example.com", is_admin=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """An app whose every page below /admin is for administrators."""
    folder = tmp_path_factory.mktemp("site") / "app"
    (folder / "static").mkdir(parents=True)
    (folder / "static" / "a.txt").write_text("of users")
    async with running(folder, MAIN, RULES) as site:
        yield site


def cookie(sessions: Sessions, user: User = ADMIN) -> str:
    """Return the cookie of a user."""
    return sessions.begin(user).partition(";")[0]


async def sign_in(site: Site, *headers: str, destination: str = "") -> Answer:
    """Send the form of the login page with these headers."""
    body = f"email=a@b.c&continue={destination}".encode()
    length = f"Content-Length: {len(body)}"
    return await site.get(
        "/_ah/login", length, FORM, *headers, method="POST", body=body
    )


@pytest.mark.parametrize(
    "target",
    [
        "/admin",
        "/admin/",
        "/admin/x",
        "/admin?x",
        "/admin#x",
        "/admin/#x?y",
        "/admin%2f",
        "/admin/%0ax",
        "/admin/x%0d%0ay",
        "/admin/%ff",
        "/%61dmin",
        "/%61%64%6d%69%6e/x",
        "//admin",
        "///admin//x",
        "/%2fadmin",
        "/./admin",
        "/%2e/admin",
        "/.//admin",
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/x/..%2fadmin/x",
        "/../admin",
        "/admin/.",
        "/admin/x/..",
        "/public/../admin/",
        "/static/../admin",
        "/static/../static/a.txt",
        "//static/a.txt",
        "/static/./a.txt",
        "http://localhost/admin",
        "HTTP://LOCALHOST/admin?x",
        "http://localhost//admin",
        "http://localhost/%61dmin#x",
        "x://127.0.0.1/admin",
        "/_ah/../admin",
        "/_ah/login/../../admin",
    ],
)
async def test_spellings_of_a_path(site: Site, target: str) -> None:
    """No spelling evades the rule; an administrator gets the page."""
    answer = await site.get(target)
    assert answer.status in (302, 400, 404)
    assert answer.body.find(b"of admins") == answer.body.find(b"of users") == -1
    if answer.status == 302:
        header = f"Cookie: {cookie(site.sessions)}"
        assert (await site.get(target, header)).status in (200, 404)


@pytest.mark.parametrize("target", ["/admin;x", "/adminx", "/x/admin", "/x?/admin"])
async def test_other_paths_stay_public(site: Site, target: str) -> None:
    """The test above can fail: not every path with this word in it is refused."""
    answer = await site.get(target)
    assert (answer.status, answer.body) == (200, b"of all")


@pytest.mark.parametrize(
    "header",
    [
        "X-AppEngine-User-Is-Admin: 1",
        "X_Appengine_User_Is_Admin: 1",
        "X-AppEngine-User-Email: root@example.com",
        "X-AppEngine-Cron: true",
        "X-AppEngine-QueueName: default",
        "X-AppEngine-TaskName: t",
        "X-AppEngine-User-IP: 0.1.0.2",
        "X-AppEngine-Fake-Is-Admin: 1",
        "X-AppEngine-Fake-Logged-In: 1",
        "X-Google-Internal-SkipAdminCheck: true",
        "Cookie: dev_appserver_login=root@example.com:True:1",
    ],
)
async def test_forged_headers(site: Site, header: str) -> None:
    """A client that claims to be an administrator or App Engine is not signed in."""
    assert (await site.get("/admin", header)).status == 302


async def test_forged_cookies(site: Site) -> None:
    """Only a cookie that this run of this server has signed is valid."""
    valid = cookie(site.sessions)
    name, _, value = valid.partition("=")
    signed, _, signature = value.partition(".")
    user, _, of_user = cookie(site.sessions, User("a@b.c")).partition(".")
    bits = [1 << bit for bit in range(7)]
    forged = {
        *(f"{valid[:i]}{chr(ord(valid[i]) ^ bit)}{valid[i + 1 :]}"
          for i in range(len(name) + 1, len(valid)) for bit in bits
          if chr(ord(valid[i]) ^ bit).isprintable()),
        *(valid[:end] for end in range(len(name), len(valid))),
        cookie(Sessions(site.port, None)),
        f"{user}.{signature}",
        f"{name}={signed}.{of_user}",
        f"{name}={signed}.{'0' * 64}",
        f"{name}={signed}.{signature.upper()}",
        f"{name}={signed}.{signature}.",
        f"{name}={signed}=.{signature}",
        f'{name}="{value}"',
        f"{name}x={value}",
        f"{name.upper()}={value}",
        f"{name}=é",
        f"{name}=.{signature}",
        f"x={value}",
        f"x={valid}",
        f'x="; {valid.replace("=", "%3D")}',
    } - {valid}  # fmt: skip
    async with site.connected() as (reader, writer):
        for attempt in sorted(forged):
            lines = ["GET /admin HTTP/1.1", "Host: localhost", f"Cookie: {attempt}"]
            writer.write("\r\n".join([*lines, "", ""]).encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 302 " in head.split(b"\r\n")[0], attempt
    assert (await site.get("/admin", f"Cookie: {valid}")).status == 200


async def test_several_cookies(site: Site) -> None:
    """An app or another server can add cookies of this name, but not replace a user."""
    admin, user = cookie(site.sessions), cookie(site.sessions, User("a@b.c"))
    forged = f"{admin.partition('=')[0]}=x"
    for header, status in (
        (f"Cookie: {forged}; {admin}", 200),
        (f"Cookie: {admin}; {forged}; {admin}", 200),
        (f"Cookie: {forged}\r\nCOOKIE: {admin}", 200),
        (f"Cookie: {admin}; {user}", 302),
        (f"Cookie: {user}\r\nCookie: {admin}", 302),
        (f"Cookie: {forged}\r\n {admin}", 400),
        (f"Cookie : {admin}", 400),
        (f"Cookie: a={admin}", 302),
        (f"X-Cookie: {admin}", 302),
        (f"Cookie2: {admin}", 302),
    ):
        assert (await site.get("/admin", header)).status == status, header


@pytest.mark.parametrize(
    "form", ["{}", "{};", " {} ;x=y", "x=y;{}", "x=y;  {};z", "{}\t"]
)
async def test_no_cookie_reaches_the_app(recorder: Site, form: str) -> None:
    """Not even one of another server, as whose user the app could act."""
    for port in (recorder.port, 1):
        mine = cookie(Sessions(port, None))
        for line in (f"Cookie: {form}", f"cookie:{form}"):
            await recorder.get("/", line.format(mine))
            head = (await recorder.recorded()).head.decode()
            assert mine.partition("=")[0] not in head
            for other in re.findall(r"\w=\w|z", form):
                assert other in head


@pytest.mark.parametrize(
    "headers",
    [
        [],
        ["Origin: null"],
        ["Origin: "],
        ["Origin: http://evil.example"],
        ["Origin: http://localhost.evil.example"],
        ["Origin: http://localhost:1"],
        ["Origin: https://localhost"],
        ["Origin: http://127.0.0.1"],
        ["Origin: http://localhost/"],
        ["Origin: http://localhost http://evil.example"],
        ["Origin: http://localhost", "Origin: http://evil.example"],
        ["Origin: http://localhost", "Origin: http://localhost"],
        ["Referer: http://localhost/_ah/login"],
        ["Referer: http://evil.example/", "Sec-Fetch-Site: same-origin"],
        ["X-Origin: http://localhost"],
        ["Origin : http://localhost"],
    ],
)
async def test_origins(site: Site, headers: list[str]) -> None:
    """Only the page of the server itself signs in; forms of other pages do not."""
    answer = await sign_in(site, *headers)
    assert answer.status in (400, 403)
    assert not answer.all("Set-Cookie")


async def test_the_cookie(site: Site) -> None:
    """Scripts cannot read it, and no form of another site sends it."""
    answer = await sign_in(site, "Origin: http://localhost")
    (line,) = answer.all("Set-Cookie")
    assert line.split("; ")[1:] == ["Path=/", "HttpOnly", "SameSite=Lax"]


@pytest.mark.parametrize("target", ["/_ah/login", "/_ah/logout", "/admin"])
async def test_dns_rebinding(site: Site, target: str) -> None:
    """A page that resolves its own name to this machine reaches nothing."""
    request = (
        f"GET {target} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    )
    assert Answer(await site.send(request.encode())).status == 421


@pytest.mark.parametrize(
    "destination",
    [
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/%09/evil.example",
        "%09//evil.example",
        "%20//evil.example",
        "/%0d%0aX-Evil:%20y",
        "/%0aSet-Cookie:%20a=b",
        "/%00",
        "%2f%2fevil.example",
        "%252f%252fevil.example",
        "http:evil.example",
        "http:/evil.example",
        "http:///evil.example",
        "http://evil.example",
        "HTTP://evil.example/",
        "https://evil.example/",
        "http://localhost@evil.example/",
        "http://localhost:80@evil.example/",
        "http://evil.example%23@localhost/",
        "http://localhost%5c@evil.example/",
        "http://localhost.evil.example/",
        "http://localhost:1/",
        "http://[::1].evil.example/",
        "http://[",
        "http://localhost//evil.example",
        "ftp://localhost/",
        "javascript:alert(1)",
        "data:text/html,x",
        "evil.example",
        "./x",
        "%EF%BC%8F/evil.example",
    ],
)
async def test_open_redirects(site: Site, destination: str) -> None:
    """`continue` leads to no other server, neither after a sign-in nor a sign-out."""
    signed_in = await sign_in(site, "Origin: http://localhost", destination=destination)
    form = await site.get(f"/_ah/login?continue={destination}")
    signed_out = await site.get(f"/_ah/logout?continue={destination}")
    for answer in (signed_in, form, signed_out):
        assert answer.status == 400
        assert not answer.all("Location")
        assert not answer.all("X-Evil")
    assert not signed_in.all("Set-Cookie")
    assert len(signed_out.all("Set-Cookie")) == 1


@pytest.mark.parametrize(
    ("line", "body", "status"),
    [
        (FORM, b"email=a@b.c" + b"&x" * 20, 400),
        (FORM, b"email=" + b"a" * 70000, 400),
        (FORM, b"email=\xff@b.c", 400),
        (FORM, b"email=%FF@b.c", 400),
        ("Content-Type: text/plain", b"email=a@b.c", 415),
        ("Content-Type: multipart/form-data; boundary=x", b"--x--", 415),
        ("X-None: 1", b"email=a@b.c", 415),
    ],
)
async def test_other_bodies(site: Site, line: str, body: bytes, status: int) -> None:
    """A form without a usable address signs no user in."""
    headers = ["Origin: http://localhost", f"Content-Length: {len(body)}", line]
    answer = await site.get("/_ah/login", *headers, method="POST", body=body)
    assert answer.status == status
    assert not answer.all("Set-Cookie")


async def test_clients_on_other_machines(site: Site) -> None:
    """They cannot sign in, and a stolen cookie is worth nothing to them.

    Here, a connection from another address of this machine stands for theirs.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        with contextlib.suppress(OSError):
            probe.connect(("192.0.2.1", 9))  # sends nothing
        address = probe.getsockname()[0]
    if address in ("0.0.0.0", "127.0.0.1"):
        pytest.skip("this machine has only loopback addresses")
    forged = ["X-Forwarded-For: 127.0.0.1", "X-AppEngine-User-IP: 127.0.0.1"]
    lines = [f"Cookie: {cookie(site.sessions)}", "Origin: http://localhost", *forged]
    for method, target, status in (
        ("GET", "/_ah/login", 403),
        ("POST", "/_ah/login", 403),
        ("GET", "/admin", 302),
    ):
        head = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close"]
        request = "\r\n".join([*head, *lines, FORM, "Content-Length: 11", "", ""])
        async with site.connected(source=address) as (reader, writer):
            writer.write(request.encode() + b"email=a@b.c")
            answer = Answer(await reader.read())
        assert answer.status == status
        assert not answer.all("Set-Cookie")
