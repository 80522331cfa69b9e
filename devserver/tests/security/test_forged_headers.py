"""No header of App Engine's comes in from outside, however it is spelled.

gunicorn and aiohttp refuse some spellings, which proves nothing about the front. So the
app here records the bytes of a request. A test with another prefix shows for each
spelling that nothing else drops it.
"""

import re
from collections.abc import Callable

import pytest

from gae_devserver.http.forwarding import headers_from_outside
from tests.helpers.http_messages import Answer
from tests.helpers.site import Site

pytestmark = pytest.mark.asyncio(loop_scope="module")

FORGED = "not-of-app-engine"
"""The value that must not arrive."""

NAMES = [
    "X-AppEngine-TaskName",
    "X-AppEngine-QueueName",
    "X-AppEngine-TaskRetryCount",
    "X-AppEngine-User-IP",
    "X-AppEngine-Remote-Addr",
    "X-AppEngine-Cron",
    "X-AppEngine-Api-Ticket",
    "X-AppEngine-User-Is-Admin",
    "X-AppEngine-Server-Software",
    "X-AppEngine-Current-Namespace",
    "X-AppEngine-Inbound-Appid",
    "X-Google-Internal-SkipAdminCheck",
    "X-Google-Apps-Metadata",
    "X-AppEngine-Dev-Own-Fetch",
    "X-AppEngine-Dev-Request-Id",
    "X-Appengine-",
    "Forwarded",
    "X-Cloud-Trace-Context",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Ssl",
    "X-Real-IP",
    "X-Scheme",
]
SPELLINGS: dict[str, Callable[[str], str]] = {
    "as documented": lambda name: name,
    "lower case": str.lower,
    "upper case": str.upper,
    "swapped case": str.swapcase,
    "underscores": lambda name: name.replace("-", "_"),
    "first underscore": lambda name: name.replace("-", "_", 1),
    "last underscore": lambda name: "_".join(name.rsplit("-", 1)),
    "lower case and underscores": lambda name: name.lower().replace("-", "_"),
}
AROUND = {
    "one space": " {}",
    "no space": "{}",
    "tab": "\t{}",
    "spaces around": "   {}  \t ",
}


def everywhere(name: str) -> list[str]:
    """Return header lines that forge one name, in every way that HTTP allows."""
    lines = [f"{spell(name)}: {FORGED}" for spell in SPELLINGS.values()]
    lines += [f"{name}:{form.format(FORGED)}" for form in AROUND.values()]
    # twice, and in two spellings at once
    return [*lines, f"{name}: {FORGED}", f"{name.replace('-', '_')}: {FORGED}"]


@pytest.mark.parametrize("name", NAMES)
async def test_a_forgery(recorder: Site, name: str) -> None:
    """The app gets nothing of it; the headers that App Engine sets are there once."""
    similar = ["X-Mine: kept", "X-Appengine: kept", "X-Goo: kept"]
    await recorder.get("/", *everywhere(name), *similar)
    request = await recorder.recorded()
    assert FORGED.encode() not in request.head
    own = [line.encode() for line in ("Host: localhost", *similar)]
    assert request.from_outside == own
    # as WSGI folds the names
    names = [name.upper().replace("-", "_") for name in request.headers]
    assert len(names) == len(set(names)) == len(request.lines)
    assert "X_APPENGINE_TASKNAME" not in names


@pytest.mark.parametrize("line", everywhere("X-AppEngines-TaskName"))
async def test_another_prefix_arrives(recorder: Site, line: str) -> None:
    """The test above can fail: nothing but the filter drops a spelling."""
    await recorder.get("/", line)
    assert FORGED.encode() in (await recorder.recorded()).head


@pytest.mark.parametrize(
    "line",
    [
        "Connection: X-AppEngine-User-IP, X_Appengine_Remote_Addr",
        "Connection: X-Appengine-Api-Ticket",
        "Connection: X-Forwarded-For",
        f"X-AppEngine-User-IP: {FORGED}",
    ],
)
async def test_what_app_engine_sets_stays(recorder: Site, line: str) -> None:
    """A client can neither take it away nor replace it."""
    await recorder.get("/", line)
    headers = (await recorder.recorded()).headers
    assert headers["X-Appengine-User-IP"] == "127.0.0.1"
    assert headers["X-Appengine-Remote-Addr"] == "127.0.0.1"
    assert headers["X-Forwarded-For"] == "127.0.0.1, 169.254.1.1"
    assert len(headers["X-Appengine-Api-Ticket"]) == 32


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"X-AppEngine-TaskName ", b"t"),
        (b" X-AppEngine-TaskName", b"t"),
        (b"X-AppEngine-TaskName\t", b"t"),
        (b"X-AppEngine-TaskName\x00", b"t"),
        (b"X-AppEngine-Task\xc4\xb1name", b"t"),
        (b"X-AppEngine:TaskName", b"t"),
        (b"", b"t"),
        (b"X-A", b"a\r\nX-AppEngine-TaskName: t"),
        (b"X-A", b"a\nX-AppEngine-TaskName: t"),
        (b"X-A", b"a\rX-AppEngine-TaskName: t"),
        (b"X-A", b"a\r\n X-AppEngine-TaskName: t"),
        (b"X(A", b"t"),
        (b"X-A", b"\xe9"),
        *((b"X-A", b"a%cb" % code) for code in (*range(9), *range(10, 32), 127)),
    ],
)
async def test_what_no_header_may_hold(name: bytes, value: bytes) -> None:
    """The filter refuses invalid headers, even if the parser before it does not."""
    with pytest.raises(ValueError, match=r"has a character|can't decode"):
        headers_from_outside([(b"Host", b"localhost"), (name, value)])


@pytest.mark.parametrize(
    "line",
    [
        "X-AppEngine-TaskName : t",
        "X-AppEngine-TaskName\t: t",
        "X-A: b\r\n X-AppEngine-TaskName: t",
        "X-A: b\r\n\tX-AppEngine-TaskName: t",
        "X-A: b\rX-AppEngine-TaskName: t",
        "X-A: b\nX AppEngine-TaskName: t",
        "X-A: \x00X-AppEngine-TaskName: t",
        " X-AppEngine-TaskName: t",
        ": t",
        "X-AppEngine-TaskName",
    ],
)
async def test_what_is_no_header(recorder: Site, line: str) -> None:
    """Whitespace before the colon, folded lines and the like get 400."""
    answer = await recorder.get("/", line)
    assert answer.status == 400
    assert recorder.is_unasked()


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n",
        "Content-Length: 0\r\nContent-Length: 60\r\n\r\n",
        "Content-Length: 0, 60\r\n\r\n",
        "Content-Length: +0\r\n\r\n",
        "Content-Length: 0x0\r\n\r\n",
        "Content-Length: -1\r\n\r\n",
        "Content-Length: \r\n\r\n",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n0x\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_a_request_in_another_one(recorder: Site, head: str) -> None:
    """If the end of a request is ambiguous, the app sees neither of the two."""
    smuggled = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    start = "POST / HTTP/1.1\r\nHost: localhost\r\n"
    answer = await recorder.send(f"{start}{head}{smuggled}".encode())
    assert Answer(answer).status == 400
    assert len(re.findall(rb"^HTTP/1", answer, re.MULTILINE)) == 1
    assert recorder.is_unasked()


@pytest.mark.parametrize("name", ["Content_Length", "Transfer_Encoding"])
async def test_a_length_that_only_wsgi_would_see(recorder: Site, name: str) -> None:
    """A name with an underscore is dropped; the real headers set the length."""
    value = "chunked" if name == "Transfer_Encoding" else "60"
    await recorder.get(
        "/", f"{name}: {value}", "Content-Length: 2", method="POST", body=b"hi"
    )
    request = await recorder.recorded()
    assert request.body == b"hi"
    assert name.encode() not in request.head
