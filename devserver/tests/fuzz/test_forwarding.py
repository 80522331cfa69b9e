"""The filter of headers without the parser, which refuses most odd headers first."""

import re

from hypothesis import strategies as st

from gae_devserver.http.forwarding import headers_from_outside
from tests.fuzz import headers
from tests.fuzz.conftest import Fuzz
from tests.fuzz.drawing import weighted
from tests.fuzz.headers import Header
from tests.fuzz.requests import arriving, folded, is_app_engines

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
CONTROLS = [bytes([code]) for code in range(128) if _CONTROL.match(bytes([code]))]


def is_right(header: Header) -> bool:
    """Return whether HTTP allows a header and aiohttp can send it."""
    name, value = header
    return bool(
        _TOKEN.fullmatch(name)
        and not _CONTROL.search(value)
        and value.decode("utf-8", "replace").encode() == value
    )


def test_any_headers(fuzz: Fuzz) -> None:
    """Valid headers pass unless they are App Engine's; others raise ValueError."""

    def check(sent: list[Header]) -> set[str]:
        sent = [(name, value.strip(b" \t")) for name, value in sent]
        try:
            got = headers_from_outside(sent)
        except ValueError:
            assert not all(map(is_right, sent))
            return {"refused"}
        assert all(is_right((name, b"")) for name, _ in sent)
        assert not any(_CONTROL.search(value) for _, value in sent)
        encoded = [(name.encode(), value.encode()) for name, value in got.items()]
        assert [(folded(name), value) for name, value in encoded] == arriving(sent)
        forged = any(is_app_engines(name) for name, _ in sent)
        return {"sent", "forged"} if forged else {"sent"}

    anything = st.tuples(st.binary(max_size=6), st.binary(max_size=6))
    parts = st.tuples(headers.VALUES, st.sampled_from(CONTROLS), headers.VALUES)
    with_control = st.tuples(st.just(b"X-Mine"), parts.map(b"".join))
    odd = st.one_of(headers.ODD, anything, with_control)
    good = st.lists(headers.GOOD, max_size=5)
    drawn = weighted(
        (2, good), (1, st.tuples(good, odd).map(lambda pair: [*pair[0], pair[1]]))
    )
    at_least = {"sent": 0.2, "forged": 0.1, "refused": 0.02}
    fuzz("forwarding", check, drawn, at_least=at_least)
