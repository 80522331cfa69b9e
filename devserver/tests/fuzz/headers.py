"""Headers: valid, forged and odd ones."""

from hypothesis import strategies as st

from tests.fuzz.drawing import weighted

Header = tuple[bytes, bytes]

FORGED = b"not-of-app-engine"

_OF_APP_ENGINE = [
    *("X-AppEngine-TaskName", "X-AppEngine-QueueName", "X-AppEngine-TaskRetryCount"),
    *("X-AppEngine-User-IP", "X-AppEngine-Remote-Addr", "X-AppEngine-Api-Ticket"),
    *("X-AppEngine-User-Is-Admin", "X-AppEngine-Server-Software", "X-AppEngine-Cron"),
    *("X-AppEngine-Https", "X-AppEngine-", "X-Google-Internal-SkipAdminCheck"),
]
_PLAIN = [
    *("X-Mine", "x-mine", "x_mine", "X-A", "Accept", "User-Agent", "Referer", "Via"),
    *("Origin", "Authorization", "X-Forwarded-Proto", "Cache-Control"),
    *("X-AppEngin", "XAppEngine-TaskName", "!#$%&'*+.^_`|~0"),
]
# headers that a server or the app acts on, with valid values
_SPECIAL = [
    *[("Connection", "X-Mine"), ("Connection", "x_mine , TE"), ("Connection", "host")],
    *[("connection", "X-AppEngine-User-IP,x_appengine_api_ticket"), ("Te", "trailers")],
    *[("Keep-Alive", "timeout=5"), ("Proxy-Connection", "x")],
    *[("Trailer", "X-A"), ("Upgrade", "h2c"), ("Proxy_Authorization", "Basic eDp4")],
    *[("Proxy-Authorization", "Basic eDp4"), ("Proxy-Authenticate", "Basic")],
    *[("Content_Length", "7"), ("Transfer_Encoding", "chunked"), ("Cookie", "a=b; c")],
    *[("Expect", "100-continue"), ("Content-Encoding", "gzip"), ("Range", "bytes=1-2")],
    *[("Content-Type", "text/plain"), ("Accept-Encoding", "gzip"), ("TE", "gzip")],
    *[("If-Modified-Since", "Mon, 01 Jan 2035 00:00:00 GMT"), ("If-Match", '"x"')],
]
_ODD_NAMES = [
    *("", "X-AppEngine-TaskName ", " X-A", "X-AppEngine\tTaskName", "X-A:B", "X-\x00"),
    *("X-AppEngine-Taskname\x0b", "X-Ä", "X-A\r", "\nX-AppEngine-A"),
]
_ODD_VALUES = [
    *("0", "-1", "5, 6", "chunked", "identity", "close", "keep-alive, X-A", "h2c"),
    *("upgrade", "websocket", "100-continue", "bytes=9-1,-", "gzip, br", "", "a\x00b"),
    *("x" * 9000, "a\r\nX-AppEngine-TaskName: not-of-app-engine", "a\x7f", "\x01"),
    *("a\r X-AppEngine-A: not-of-app-engine", "a\n X-AppEngine-A: not-of-app-engine"),
]


@st.composite
def _spelled(draw: st.DrawFn, name: str) -> bytes:
    """Draw a spelling that WSGI maps to the same name."""
    spellings = [name, name.lower(), name.upper(), name.swapcase()]
    spelled: str = draw(st.sampled_from(spellings))
    dashes = st.sampled_from("--_")
    letters = [draw(dashes) if letter == "-" else letter for letter in spelled]
    return "".join(letters).encode()


def _encoded(*pairs: tuple[str, str]) -> list[Header]:
    return [(name.encode(), value.encode()) for name, value in pairs]


VALUES = st.one_of(
    st.text("aB09 ,;:=\"'()/\\\té€", max_size=20).map(str.encode),
    st.sampled_from([FORGED, b"task1", b"0.1.0.2", b"x" * 2000]),
)
"""Values that any header may have."""

FORGED_NAMES = st.sampled_from(_OF_APP_ENGINE).flatmap(_spelled)
"""Headers that only App Engine may set, in all spellings that HTTP allows."""
FORGERIES = st.tuples(FORGED_NAMES, st.just(FORGED))

GOOD = weighted(
    (1, st.tuples(st.sampled_from([name.encode() for name in _PLAIN]), VALUES)),
    (1, st.sampled_from(_encoded(*_SPECIAL))),
    (2, FORGERIES),
)
"""Headers that a server has no reason to refuse."""

_NAMES = sorted({*(name for name, _ in _encoded(*_SPECIAL)), b"X-A", b"x-mine"})
ODD = st.one_of(
    st.tuples(
        st.sampled_from(_NAMES),
        st.sampled_from([value.encode() for value in _ODD_VALUES]),
    ),
    st.tuples(
        st.sampled_from(_NAMES),
        st.text("\t ,;=/aB\x7f\x80é€", max_size=8).map(str.encode),
    ),
    st.tuples(st.sampled_from(_NAMES), st.binary(max_size=4)),
    st.tuples(st.sampled_from([name.encode() for name in _ODD_NAMES]), VALUES),
    st.tuples(st.binary(max_size=8), st.just(FORGED)),
)
"""Headers that many servers refuse."""
