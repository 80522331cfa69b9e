"""The filters of the templates."""

import pytest

from gae_devserver.console.frame import formats


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.0123, "12 ms"),
        (1.5, "1.5 s"),
        (9.99, "10 s"),
        (60, "1 min"),
        (90, "1 min 30 s"),
        (3599.7, "1 h"),
        (86400 + 3600 + 60, "1 d 1 h"),
        (-90, "-1 min 30 s"),
        (None, ""),
    ],
)
def test_span(seconds: float | None, text: str) -> None:
    """A length of time has its two largest units."""
    assert formats.span(seconds) == text


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a/b?c#d", "a%2Fb%3Fc%23d"),
        ("a.b", "a.b"),
        ("ä\udcff", "%C3%A4%3F"),
    ],
)
def test_segment(name: str, path: str) -> None:
    """A name is one segment of a path, whatever is in it."""
    assert formats.segment(name) == path


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a b", "a b"), ("\t", '"\\t"'), ("\u200f", '"\\u200f"'), ("", '""')],
)
def test_named(name: str, shown: str) -> None:
    """A link with the name can be seen, also if the name is a space."""
    assert formats.named(name) == shown


def test_what_cannot_be_seen_is_made_visible() -> None:
    """Control characters, marks of direction and broken UTF-8 do no harm."""
    page = formats.visible("a\x00\x1b\u202eb\udcff\n")
    assert page.decode() == "a\u2400\u241b\\u202eb?\n"
