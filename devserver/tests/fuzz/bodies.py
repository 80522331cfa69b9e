"""Bodies of requests with the headers for their length: valid, broken, ambiguous."""

import dataclasses

from hypothesis import strategies as st

from tests.fuzz import headers
from tests.fuzz.drawing import with_one_byte
from tests.fuzz.headers import Header


@dataclasses.dataclass(frozen=True)
class Body:
    """A body, and the headers for its length."""

    headers: tuple[Header, ...] = ()
    data: bytes = b""
    content: bytes = b""
    """What the app must get of a valid body."""


CONTENTS = st.one_of(
    st.text("ab:0\t \x00é", max_size=30).map(str.encode),
    st.sampled_from([b"", b"x" * 3000, b"\xff\x80", b"a: b"]),
)
_WITH_LINES = st.sampled_from(
    [b"0\r\n\r\n", b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\r\n" * 3]
)
_CHUNKED = (b"Transfer-Encoding", b"chunked")


@st.composite
def _chunks(draw: st.DrawFn, content: bytes) -> bytes:
    """Draw a chunked form of a content."""
    data = b""
    while content:
        size = draw(st.integers(1, len(content)))
        spelled = draw(st.sampled_from([b"%x", b"%X", b"0%x", b"%x;a=b", b'%x;a="b"']))
        data += spelled % size + b"\r\n" + content[:size] + b"\r\n"
        content = content[size:]
    end = draw(st.sampled_from([b"0\r\n", b"00\r\n", b"0;a\r\n"]))
    forged = b"X-AppEngine-TaskName: " + headers.FORGED + b"\r\n"
    trailer = draw(st.sampled_from([b"", b"", b"X-A: b\r\n", forged]))
    return data + end + trailer + b"\r\n"


def chunked(contents: st.SearchStrategy[bytes]) -> st.SearchStrategy[Body]:
    """Return bodies in chunks."""
    return contents.flatmap(
        lambda content: _chunks(content).map(
            lambda data: Body((_CHUNKED,), data, content)
        )
    )


def _with_length(content: bytes) -> Body:
    return Body(((b"Content-Length", b"%d" % len(content)),), content, content)


_ANY_CONTENT = st.one_of(CONTENTS, _WITH_LINES)
GOOD_BODIES = st.one_of(
    st.just(Body()), _ANY_CONTENT.map(_with_length), chunked(_ANY_CONTENT)
)

_NEARLY_CHUNKED = [
    *(b"5 \r\nhello\r\n0\r\n\r\n", b"5\nhello\n0\n\n", b"5\r\nhelloXX0\r\n\r\n"),
    *(b"5\r\nhell\r\n0\r\n\r\n", b"3\r\nhello\r\n0\r\n\r\n", b"-1\r\n", b"XX\r\n"),
    *(b"0x5\r\nhello\r\n0\r\n\r\n", b"+5\r\nhello\r\n0\r\n\r\n", b"\r\n0\r\n\r\n"),
    *(b"5\r\nhello\r\n0\r\nX-A : b\r\n\r\n", b"0\r\nno header\r\n\r\n", b"5\r\nhel"),
    *(b"f" * 16 + b"\r\nx", b"1" + b"0" * 16 + b"\r\nx", b"0" * 17 + b"\r\n\r\n"),
    *(b"5;" + b"x" * 9000 + b"\r\nhello\r\n0\r\n\r\n", b"5\r\nhello0\r\n\r\n"),
    *(b"0\r\nX-A: " + b"x" * 9000 + b"\r\n\r\n", b"0\r\n" + b"X-A: b\r\n" * 200),
    *(b"0\r\nX-A: a\x00\r\n\r\n", b"\xb2\r\nhi\r\n0\r\n\r\n", b"5\rhello\r0\r\r"),
]
BROKEN_CHUNKS = st.one_of(
    st.sampled_from(_NEARLY_CHUNKED).map(lambda data: Body((_CHUNKED,), data)),
    chunked(CONTENTS).flatmap(
        lambda body: with_one_byte(body.data).map(
            lambda data: dataclasses.replace(body, data=data)
        )
    ),
)
"""Chunked bodies that end too early or are malformed; a few are still valid."""

# ambiguous or invalid
_ODD_FRAMINGS = [
    *[[("Content-Length", value)] for value in ("-1", "+5", "0x5", "5, 5", "5,6")],
    *[[("Content-Length", value)] for value in ("", "5 5", "9", "3", "9" * 20, "²")],
    *[[("Content-Length", "5"), ("Content-Length", value)] for value in ("5", "6")],
    *[[("Transfer-Encoding", value)] for value in ("gzip, chunked", "identity", "")],
    *[[("Transfer-Encoding", value)] for value in ("chunked, chunked", "xchunked")],
    *[[("Transfer-Encoding", value)] for value in ("chunked, identity", "\x0bchunked")],
    *[[("Transfer-Encoding", "chunked")] * 2, [("Transfer-Encoding ", "chunked")]],
    *[[("Transfer-Encoding", "chunked"), ("Content-Length", n)] for n in ("5", "15")],
    *[[("Content-Length", n), ("Transfer-Encoding", "chunked")] for n in ("5", "15")],
]
ODD_BODIES = st.one_of(
    BROKEN_CHUNKS,
    st.builds(
        lambda framing, data: Body(
            tuple((name.encode(), value.encode()) for name, value in framing), data
        ),
        st.sampled_from(_ODD_FRAMINGS),
        st.sampled_from([b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"", b"0\r\n\r\n"]),
    ),
)
