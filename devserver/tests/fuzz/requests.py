"""Requests that are valid, or invalid in one or two parts.

_port in a request is replaced by the number of the port to which it is sent, which has
five digits too.
"""

import dataclasses
from typing import Any

from hypothesis import strategies as st

from tests.fuzz import headers
from tests.fuzz.headers import FORGED, Header, with_one_byte

STATIC = b"/s/a.txt"
"""A file that the front serves itself."""
OWN_HOSTS = {
    host + port
    for host in (b"localhost", b"127.0.0.1", b"[::1]")
    for port in (b"", b":_port")
}
LAST = b"GET /last HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
"""The request after one that keeps the connection open."""


# --- bodies --------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Body:
    """A body, and the headers for its length."""

    headers: tuple[Header, ...] = ()
    data: bytes = b""
    content: bytes = b""
    """What the app must get of a valid body."""


_CONTENTS = st.one_of(
    st.text("ab:0\t \x00é", max_size=30).map(str.encode),
    st.sampled_from([b"", b"x" * 3000, b"\xff\x80", b"a: b"]),
    st.sampled_from([b"0\r\n\r\n", b"\r\n" * 3]),
    st.just(b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"),
)
_CHUNKED = (b"Transfer-Encoding", b"chunked")


@st.composite
def _chunked(draw: st.DrawFn) -> Body:
    """Draw a body in chunks."""
    content = rest = draw(_CONTENTS)
    data = b""
    while rest:
        size = draw(st.integers(1, len(rest)))
        spelled = draw(st.sampled_from([b"%x", b"%X", b"0%x", b"%x;a=b", b'%x;a="b"']))
        data += spelled % size + b"\r\n" + rest[:size] + b"\r\n"
        rest = rest[size:]
    end = draw(st.sampled_from([b"0\r\n", b"00\r\n", b"0;a\r\n"]))
    forged = b"X-AppEngine-TaskName: " + FORGED + b"\r\n"
    trailer = draw(st.sampled_from([b"", b"X-A: b\r\n", forged]))
    return Body((_CHUNKED,), data + end + trailer + b"\r\n", content)


_GOOD_BODIES = st.one_of(
    st.just(Body()),
    _CONTENTS.map(
        lambda data: Body(((b"Content-Length", b"%d" % len(data)),), data, data)
    ),
    _chunked(),
)

# what one byte more or less does not make of valid chunks
_NEARLY_CHUNKED = [
    b"5\nhello\n0\n\n",
    b"5\rhello\r0\r\r",
    b"5\r\nhelloXX0\r\n\r\n",
    b"5\r\nhello0\r\n\r\n",
    b"+5\r\nhello\r\n0\r\n\r\n",
    b"-1\r\n",
    b"\xb2\r\nhi\r\n0\r\n\r\n",
    b"0\r\nno header\r\n\r\n",
    b"0\r\nX-A : b\r\n\r\n",
    b"f" * 16 + b"\r\nx",
    b"1" + b"0" * 16 + b"\r\nx",
    b"0" * 17 + b"\r\n\r\n",
    b"5;" + b"x" * 9000 + b"\r\nhello\r\n0\r\n\r\n",
    b"0\r\nX-A: " + b"x" * 9000 + b"\r\n\r\n",
    b"0\r\n" + b"X-A: b\r\n" * 200,
]
BROKEN_CHUNKS = st.one_of(
    st.sampled_from(_NEARLY_CHUNKED),
    _chunked().flatmap(lambda body: with_one_byte(body.data)),
).map(lambda data: Body((_CHUNKED,), data))
"""Chunked bodies that end too early or are malformed; a few are still valid."""

_LENGTHS = ["-1", "+5", "0x5", "5, 5", "5,6", "5 5", "", "3", "5", "15", "9" * 20, "²"]
_CODINGS = ["chunked", "xchunked", "chunked, chunked", "\x0bchunked", "identity", ""]
_FRAMINGS = st.one_of(
    st.tuples(st.just("Content-Length"), st.sampled_from(_LENGTHS)),
    st.tuples(
        st.sampled_from(["Transfer-Encoding", "Transfer-Encoding "]),
        st.sampled_from([*_CODINGS, "gzip, chunked", "chunked, identity"]),
    ),
).map(lambda header: (header[0].encode(), header[1].encode()))
# ambiguous or invalid
_ODD_BODIES = st.one_of(
    BROKEN_CHUNKS,
    st.builds(
        Body,
        st.lists(_FRAMINGS, min_size=1, max_size=2).map(tuple),
        st.sampled_from([b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"", b"0\r\n\r\n"]),
    ),
)


# --- requests ------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Request:
    """A request, and which of its parts are odd."""

    method: bytes
    target: bytes
    version: bytes
    headers: tuple[Header, ...]
    body: Body
    odd: frozenset[str]
    stays: bool
    """Whether the request lets the connection stay open."""

    @property
    def head(self) -> bytes:
        """The bytes before the body."""
        lines = [b"%s %s HTTP/%s" % (self.method, self.target, self.version)]
        lines += [b"%s: %s" % header for header in self.headers]
        return b"\r\n".join([*lines, b"", b""])

    @property
    def data(self) -> bytes:
        """All of its bytes, and another request if the connection stays."""
        return self.head + self.body.data + (LAST if self.stays else b"")

    @property
    def has_one_head(self) -> bool:
        """Whether no header could be mistaken for the end of the head."""
        return not any(b"\n" in name + value for name, value in self.headers)

    def hosts(self) -> list[bytes]:
        """Return the hosts that it names."""
        found = [value for name, value in self.headers if name.lower() == b"host"]
        scheme, _, rest = self.target.partition(b"://")
        if rest and b"/" not in scheme:
            found.append(rest.partition(b"/")[0].partition(b"?")[0])
        return found


_PATHS = st.one_of(
    st.sampled_from([b"/", b"/x", b"//", b"/?", b"/x?a=b&c", b"/_ah/queue/deferred"]),
    st.text("ab/.~%2f?&=+:@!$'()*,;#\\[]", max_size=20).map(lambda t: f"/{t}".encode()),
)
_GOOD: dict[str, st.SearchStrategy[Any]] = {
    "method": st.sampled_from(
        b"GET POST GET POST HEAD PUT DELETE OPTIONS PATCH PROPFIND".split()
    ),
    "target": st.one_of(
        _PATHS,
        _PATHS.map(lambda path: b"http://localhost:_port" + path),
        st.sampled_from([STATIC, STATIC + b"?a"]),
    ),
    "version": st.sampled_from([b"1.1", b"1.1", b"1.1", b"1.0"]),
    "hosts": st.sampled_from(
        [[b"localhost"], [b"LocalHost:_port"], [b"127.0.0.1:_port"]]
    ),
    "headers": st.lists(headers.GOOD, max_size=6, unique_by=lambda header: header[0]),
    "body": _GOOD_BODIES,
}
_ODD_TARGETS = b"""
* a:1 x ? # http:///x http://[::1/ http://elsewhere.test/ http://localhost.a/ //[x/
http://u@localhost/ http://localhost:x/ /s/../app.yaml /s/%2e%2e/app.yaml /s/a.txt%00
""".split()
_ODD_HOSTS = (
    b"elsewhere.test localhost. localhost:1 localhost@a 127.0.0.1.a \xff".split()
)
_ODD: dict[str, st.SearchStrategy[Any]] = {
    "method": st.one_of(
        st.sampled_from([b"CONNECT", b"get", b"", b"PRI", b"X-Y", b"GET /", b"POST\t"]),
        st.binary(max_size=5),
    ),
    "target": st.one_of(
        st.sampled_from([*_ODD_TARGETS, b"", b"/" + b"x" * 9000]),
        st.binary(max_size=20).map(lambda data: b"/" + data),
    ),
    "version": st.sampled_from([b"1.2", b"2.0", b"0.9", b"1", b"1.1x", b"", b"\xb2.0"]),
    "hosts": st.one_of(
        st.sampled_from([[], [b""], [b"localhost", b"localhost"]]),
        st.sampled_from(_ODD_HOSTS).map(lambda host: [host]),
    ),
    "headers": st.builds(lambda good, odd: [*good, odd], _GOOD["headers"], headers.ODD),
    "body": _ODD_BODIES,
}
# the parser refuses most odd values of the other parts
_ODD_PARTS = st.sampled_from(
    ["headers"] * 3 + ["body", "target"] * 2 + ["method", "hosts", "version"]
)
NONE = st.just(frozenset[str]())
UP_TO_TWO = st.sampled_from([0] * 6 + [1] * 3 + [2]).flatmap(
    lambda count: st.frozensets(_ODD_PARTS, min_size=count, max_size=count)
)
"""The parts that are odd: mostly none."""


@st.composite
def requests(
    draw: st.DrawFn,
    odd_parts: st.SearchStrategy[frozenset[str]] = UP_TO_TWO,
    odd_bodies: st.SearchStrategy[Body] = _ODD_BODIES,
) -> Request:
    """Draw a request to a port on this machine."""
    odd = draw(odd_parts)
    strategies = _GOOD | {part: _ODD[part] for part in odd}
    if "body" in odd:
        strategies["body"] = odd_bodies
    drawn = {part: draw(strategy) for part, strategy in strategies.items()}
    stays = not odd and drawn["version"] == b"1.1" and draw(st.booleans())
    lines = [
        *((b"Host", host) for host in drawn["hosts"]),
        *([] if stays else [(b"Connection", b"close")]),
        *drawn["body"].headers,
        *drawn["headers"],
    ]
    return Request(
        drawn["method"],
        drawn["target"],
        drawn["version"],
        tuple(draw(st.permutations(lines))),
        drawn["body"],
        odd,
        stays,
    )
