"""The filter of headers without the parser, which refuses most odd headers first."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gae_devserver.http.forwarding import headers_from_outside
from tests.fuzz import headers
from tests.fuzz.conftest import Reached
from tests.fuzz.headers import Header, arriving, folded, is_app_engines

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
CONTROLS = [bytes([code]) for code in range(128) if _CONTROL.match(bytes([code]))]
GOOD = st.lists(headers.GOOD, max_size=5)
WITH_CONTROL = st.tuples(headers.VALUES, st.sampled_from(CONTROLS), headers.VALUES)
ODD = st.one_of(
    headers.ODD,
    st.tuples(st.binary(max_size=6), st.binary(max_size=6)),
    st.tuples(st.just(b"X-Mine"), WITH_CONTROL.map(b"".join)),
)


def is_right(header: Header) -> bool:
    """Return whether HTTP allows a header and aiohttp can send it."""
    name, value = header
    return bool(
        _TOKEN.fullmatch(name)
        and not _CONTROL.search(value)
        and value.decode("utf-8", "replace").encode() == value
    )


@pytest.mark.reaches(sent=0.2, forged=0.1, refused=0.02)
@settings(max_examples=5 * settings().max_examples)
@given(drawn=st.one_of(GOOD, st.builds(lambda good, odd: [*good, odd], GOOD, ODD)))
def test_any_headers(reached: Reached, drawn: list[Header]) -> None:
    """Valid headers pass unless they are App Engine's; others raise ValueError."""
    sent = [(name, value.strip(b" \t")) for name, value in drawn]
    try:
        got = headers_from_outside(sent)
    except ValueError:
        assert not all(map(is_right, sent))
        reached("refused")
        return
    assert all(is_right((name, b"")) for name, _ in sent)
    assert not any(_CONTROL.search(value) for _, value in sent)
    encoded = [(name.encode(), value.encode()) for name, value in got.items()]
    assert [(folded(name), value) for name, value in encoded] == arriving(sent)
    forged = any(is_app_engines(name) for name, _ in sent)
    reached("sent", *(["forged"] if forged else []))
