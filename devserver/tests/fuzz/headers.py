"""Headers: valid, forged and odd ones, and which of them the app must get."""

from collections.abc import Sequence

from hypothesis import strategies as st

Header = tuple[bytes, bytes]

FORGED = b"not-of-app-engine"

# headers that apply to one connection, by RFC 9110 and its predecessors
HOP_BY_HOP = set(
    b"connection keep-alive proxy-connection te trailer upgrade proxy-authenticate "
    b"proxy-authorization transfer-encoding".split()
)
_OF_APP_ENGINE = b"""
X-AppEngine-TaskName X-AppEngine-QueueName X-AppEngine-TaskRetryCount
X-AppEngine-User-IP X-AppEngine-Remote-Addr X-AppEngine-Api-Ticket
X-AppEngine-User-Is-Admin X-AppEngine-Server-Software X-AppEngine-Cron
X-AppEngine-Https X-AppEngine- X-Google-Internal-SkipAdminCheck
X-Forwarded-For X-Forwarded-Proto X-Forwarded-Host Forwarded X-Cloud-Trace-Context
""".split()
_PLAIN = rb"""
X-Mine x-mine x_mine X-A Accept User-Agent Referer Via Origin Authorization
X-Forwarded Cache-Control X-AppEngin XAppEngine-TaskName !#$%&'*+.^_`|~0
""".split()
# headers that a server or the app acts on, with valid values
_SPECIAL = b"""\
Connection: X-Mine
Connection: x_mine , TE
Connection: host
connection: X-AppEngine-User-IP,x_appengine_api_ticket
Te: trailers
TE: gzip
Keep-Alive: timeout=5
Trailer: X-A
Upgrade: h2c
Proxy-Connection: x
Proxy-Authenticate: Basic
Proxy-Authorization: Basic eDp4
Proxy_Authorization: Basic eDp4
Content_Length: 7
Transfer_Encoding: chunked
Expect: 100-continue
Accept-Encoding: gzip
Content-Encoding: gzip
Content-Type: text/plain
Cookie: a=b; c
Range: bytes=1-2
If-Match: "x"
If-Modified-Since: Mon, 01 Jan 2035 00:00:00 GMT
""".splitlines()
_WORDS = b"0 -1 chunked identity close h2c upgrade websocket 100-continue".split()
_ODD_VALUES = [
    *_WORDS,
    b"",
    b"5, 6",
    b"gzip, br",
    b"keep-alive, X-A",
    b"bytes=9-1,-",
    b"x" * 9000,
    b"a\r\nX-AppEngine-TaskName: " + FORGED,
    b"a\r X-AppEngine-A: " + FORGED,
    b"a\n X-AppEngine-A: " + FORGED,
]


def folded(name: bytes) -> bytes:
    """Return the name to which WSGI maps a header's name, with dashes."""
    return name.strip().lower().replace(b"_", b"-")


def is_app_engines(name: bytes) -> bool:
    """Return whether only App Engine may set this header."""
    name = folded(name)
    others = (b"forwarded", b"x-cloud-trace-context", b"x-real-ip", b"x-scheme")
    return name in others or name.startswith(
        (b"x-appengine-", b"x-google-", b"x-forwarded-")
    )


def arriving(sent: Sequence[Header]) -> list[Header]:
    """Return what the app must get of a client's headers, with folded names."""
    dropped = HOP_BY_HOP | {b"content-length", b"expect"}
    for name, value in sent:
        if folded(name) == b"connection":
            dropped.update(folded(token) for token in value.split(b","))
    dropped.discard(b"host")
    return [
        (folded(name), value.strip(b" \t"))
        for name, value in sent
        if folded(name) not in dropped and not is_app_engines(name)
    ]


@st.composite
def with_one_byte(draw: st.DrawFn, data: bytes) -> bytes:
    """Draw the same bytes with one inserted, removed or replaced, or without the end.

    No byte is added at the end: that would be the start of the next request.
    """
    place = draw(st.integers(0, len(data) - 1))
    if not draw(st.integers(0, 9)):
        return data[:place]
    likely = st.sampled_from(b"\r\n :\0\x7f\x80-_019aXx=./\t;,").map(
        lambda code: bytes([code])
    )
    anything = st.binary(min_size=1, max_size=1)
    byte = draw(st.one_of(st.just(b""), likely, anything))
    replaces = not byte or draw(st.booleans())
    return data[:place] + byte + data[place + replaces :]


@st.composite
def _spelled(draw: st.DrawFn, name: bytes) -> bytes:
    """Draw a spelling that WSGI maps to the same name."""
    spelled = draw(st.sampled_from([name, name.lower(), name.upper(), name.swapcase()]))
    first, *rest = spelled.split(b"-")
    dashes = st.sampled_from([b"-", b"-", b"_"])
    return first + b"".join(draw(dashes) + part for part in rest)


# values that any header may have
_VALUES = st.one_of(
    st.text("aB09 ,;:=\"'()/\\\té€", max_size=20).map(str.encode),
    st.sampled_from([FORGED, b"task1", b"0.1.0.2", b"x" * 2000]),
)

_FORGED_NAMES = st.sampled_from(_OF_APP_ENGINE).flatmap(_spelled)
_SPECIAL_HEADERS = [line.partition(b": ")[::2] for line in _SPECIAL]
GOOD = st.one_of(
    st.tuples(st.sampled_from(_PLAIN), _VALUES),
    st.sampled_from(_SPECIAL_HEADERS),
    # in all spellings that HTTP allows
    st.tuples(_FORGED_NAMES, st.just(FORGED)),
)
"""Headers that a server has no reason to refuse."""

_NAMES = sorted({*(name for name, _ in _SPECIAL_HEADERS), b"X-A", b"x-mine"})
ODD = st.one_of(
    st.tuples(
        st.sampled_from(_NAMES),
        st.one_of(
            st.sampled_from(_ODD_VALUES),
            st.text("\t ,;=/aB\0\x01\x7f\x80é€", max_size=8).map(str.encode),
            st.binary(max_size=4),
        ),
    ),
    st.tuples(
        st.one_of(_FORGED_NAMES.flatmap(with_one_byte), st.binary(max_size=8)),
        st.just(FORGED),
    ),
)
"""Headers that many servers refuse."""
