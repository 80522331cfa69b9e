"""What the server prints: colours, levels, and text from outside."""

import io
import logging
import re
from collections.abc import Callable, Iterator

import pytest

from gae_devserver import terminal


class _Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def log_to() -> Iterator[Callable[[io.StringIO], None]]:
    """Log two lines to a stream as the server does."""
    root, ours = logging.getLogger(), logging.getLogger("gae_devserver")
    before = (root.level, list(root.handlers), ours.level, logging.raiseExceptions)

    def log(stream: io.StringIO) -> None:
        terminal.set_up_logging("info", stream)
        ours.info("a %s", "line")
        ours.warning("careful")
        ours.debug("not shown")

    yield log
    root.level, root.handlers[:], ours.level, logging.raiseExceptions = before


def test_colour_is_for_terminals(
    log_to: Callable[[io.StringIO], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only there, and not where NO_COLOR is set."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = _Terminal()
    log_to(stream)
    assert "\x1b[33mwarning: careful\x1b[0m\n" in stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO, _Terminal])
def test_no_colour(
    stream: type[io.StringIO],
    log_to: Callable[[io.StringIO], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file, and a terminal under NO_COLOR, get time and text only."""
    if stream is _Terminal:
        monkeypatch.setenv("NO_COLOR", "1")
    output = stream()
    log_to(output)
    lines = output.getvalue().splitlines()
    assert [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in lines] == [
        "a line",
        "warning: careful",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/plain?x=%41", "/plain?x=%41"),
        ("/é", "/é"),
        ("/\x1b[31m", "/\\x1b[31m"),
        ("/\x07\n", "/\\x07\\n"),
        ("/\u202e", "/\\u202e"),
        ("/\udce9", "/\ufffd"),
    ],
)
def test_text_from_outside_is_harmless(text: str, shown: str) -> None:
    """Nothing that a client sends can move the cursor or reorder a line."""
    assert terminal.printable(text) == shown
