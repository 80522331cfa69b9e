"""Requests that are valid, or invalid in one or two parts."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from tests.fuzz import headers
from tests.fuzz.bodies import GOOD_BODIES, ODD_BODIES, Body
from tests.fuzz.drawing import weighted
from tests.fuzz.headers import Header

STATIC = b"/s/a.txt"
"""A file that the front serves itself."""
OWN_HOSTS = {b"localhost", b"127.0.0.1", b"[::1]"}

# headers that apply to one connection, by RFC 9110 and its predecessors
HOP_BY_HOP = {
    *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer"),
    *(b"upgrade", b"proxy-authenticate", b"proxy-authorization", b"transfer-encoding"),
}
_NOT_SENT_ON = HOP_BY_HOP | {b"content-length", b"expect"}


def folded(name: bytes) -> bytes:
    """Return the name to which WSGI maps a header's name, with dashes."""
    return name.strip().lower().replace(b"_", b"-")


def is_app_engines(name: bytes) -> bool:
    """Return whether only App Engine may set this header."""
    return folded(name).startswith((b"x-appengine-", b"x-google-"))


def arriving(sent: Sequence[Header]) -> list[Header]:
    """Return what the app must get of a client's headers, with folded names."""
    dropped = set(_NOT_SENT_ON)
    for name, value in sent:
        if folded(name) == b"connection":
            dropped.update(folded(token) for token in value.split(b","))
    dropped.discard(b"host")
    return [
        (folded(name), value.strip(b" \t"))
        for name, value in sent
        if folded(name) not in dropped and not is_app_engines(name)
    ]


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
    """It does not ask the server to close the connection."""

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
        [b"GET", b"POST"] * 2
        + [b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"PROPFIND"]
    ),
    "target": weighted(
        (5, _PATHS),
        (1, _PATHS.map(lambda path: b"http://localhost:PORT" + path)),
        (1, st.sampled_from([STATIC, STATIC + b"?a"])),
    ),
    "version": st.sampled_from([b"1.1"] * 6 + [b"1.0"]),
    "hosts": st.sampled_from(
        [[b"localhost"], [b"LocalHost:PORT"], [b"127.0.0.1:PORT"]]
    ),
    "headers": st.lists(headers.GOOD, max_size=6, unique_by=lambda header: header[0]),
    "body": GOOD_BODIES,
}
_ODD: dict[str, st.SearchStrategy[Any]] = {
    "method": st.one_of(
        st.sampled_from([b"CONNECT", b"get", b"", b"PRI", b"X-Y", b"GET /", b"POST\t"]),
        st.binary(max_size=5),
    ),
    "target": st.one_of(
        st.sampled_from([b"*", b"a:1", b"x", b"", b"http:///x", b"http://[::1/"]),
        st.sampled_from([b"http://elsewhere.test/", b"http://localhost.a/", b"//[x/"]),
        st.sampled_from([b"http://u@localhost/", b"http://localhost:x/", b"?", b"#"]),
        st.sampled_from([b"/s/../app.yaml", b"/s/%2e%2e/app.yaml", b"/s/a.txt%00"]),
        st.just(b"/" + b"x" * 9000),
        st.binary(max_size=20).map(lambda data: b"/" + data),
    ),
    "version": st.sampled_from([b"1.2", b"2.0", b"0.9", b"1", b"1.1x", b"", b"\xb2.0"]),
    "hosts": st.sampled_from(
        [
            *([], [b"localhost", b"localhost"], [b"elsewhere.test"], [b""], [b"\xff"]),
            *([b"localhost."], [b"localhost:1"], [b"localhost@a"], [b"127.0.0.1.a"]),
        ]
    ),
    "headers": st.tuples(_GOOD["headers"], headers.ODD).map(
        lambda pair: [*pair[0], pair[1]]
    ),
}
# the parser refuses most odd values of the other parts
_ODD_PARTS = st.sampled_from(
    ["headers"] * 3 + ["body", "target"] * 2 + ["method", "hosts", "version"]
)
NONE: frozenset[str] = frozenset()
UP_TO_TWO = st.sampled_from([0] * 6 + [1] * 3 + [2]).flatmap(
    lambda count: st.frozensets(_ODD_PARTS, min_size=count, max_size=count)
)
"""The parts that are odd: mostly none."""

LAST = b"GET /last HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
"""The request after one that keeps the connection open."""


@st.composite
def requests(
    draw: st.DrawFn,
    port: int,
    odd_parts: st.SearchStrategy[frozenset[str]] = UP_TO_TWO,
    odd_bodies: st.SearchStrategy[Body] = ODD_BODIES,
) -> Request:
    """Draw a request to a port on this machine."""
    odd = draw(odd_parts)
    odd_values = {**_ODD, "body": odd_bodies}
    drawn = {
        part: draw(odd_values[part] if part in odd else _GOOD[part]) for part in _GOOD
    }
    stays = not odd and drawn["version"] == b"1.1" and draw(st.booleans())
    lines = [
        *((b"Host", _at(host, port)) for host in drawn["hosts"]),
        *([] if stays else [(b"Connection", b"close")]),
        *drawn["body"].headers,
        *drawn["headers"],
    ]
    return Request(
        drawn["method"],
        _at(drawn["target"], port),
        drawn["version"],
        tuple(draw(st.permutations(lines))),
        drawn["body"],
        odd,
        stays,
    )


def _at(text: bytes, port: int) -> bytes:
    return text.replace(b"PORT", b"%d" % port)
