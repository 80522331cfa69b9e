"""What the server prints: colors, levels, and text from outside."""

import io
import logging
import re
from collections.abc import Callable, Iterator

import pytest

from gae_devserver import terminal
from gae_devserver.activity import activity
from gae_devserver.activity.activity import Activity


class _Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def loggers() -> Iterator[None]:
    """Restore the logging of the tests."""
    root, ours = logging.getLogger(), logging.getLogger("gae_devserver")
    before = (root.level, list(root.handlers), ours.level, logging.raiseExceptions)
    yield
    root.level, root.handlers[:], ours.level, logging.raiseExceptions = before


@pytest.fixture
def log_to(loggers: None) -> Callable[[io.StringIO], None]:
    """Log two lines to a stream as the server does."""
    ours = logging.getLogger("gae_devserver")

    def log(stream: io.StringIO) -> None:
        terminal.set_up_logging("info", stream=stream)
        ours.info("a %s", "line")
        ours.warning("careful")
        ours.debug("not shown")

    return log


def test_a_request_whose_last_line_is_not_shown(
    loggers: None, request: pytest.FixtureRequest
) -> None:
    """It ends all the same, so the lines of the next request appear at once."""
    stream = io.StringIO()
    output = terminal.set_up_logging("error", stream=stream)
    first = Activity().begin("request", "GET", "/")
    output.write("one\n", first.number)
    token = activity.current.set(first)
    request.addfinalizer(lambda: activity.current.reset(token))
    logging.getLogger("gae_devserver").info("GET / 200", extra={"ends": True})
    output.write("two\n", first.number + 1)
    assert stream.getvalue() == "one\ntwo\n"


@pytest.mark.parametrize(
    ("stream", "no_color", "warning"),
    [
        (_Terminal, "", "\x1b[33mwarning: careful\x1b[0m"),
        (_Terminal, "1", "warning: careful"),
        (io.StringIO, "", "warning: careful"),
    ],
)
def test_color_is_for_terminals(
    log_to: Callable[[io.StringIO], None],
    monkeypatch: pytest.MonkeyPatch,
    stream: type[io.StringIO],
    no_color: str,
    warning: str,
) -> None:
    """A file, and a terminal with NO_COLOR, get the time and the text only."""
    monkeypatch.setenv("NO_COLOR", no_color)
    output = stream()
    log_to(output)
    lines = output.getvalue().splitlines()
    time = r"^(\x1b\[2m)?\d\d:\d\d:\d\d(\x1b\[0m)? "
    assert [re.sub(time, "", line) for line in lines] == ["a line", warning]
    assert ("\x1b" in output.getvalue()) is ("\x1b" in warning)


def test_a_traceback_is_logged(log_to: Callable[[io.StringIO], None]) -> None:
    """An error that the server does not expect has its traceback."""
    output = io.StringIO()
    log_to(output)
    try:
        raise RuntimeError("unexpected")
    except RuntimeError:
        logging.getLogger("gae_devserver").exception("an error")
    assert "error: an error\nTraceback" in output.getvalue()
    assert output.getvalue().endswith("RuntimeError: unexpected\n")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/plain?x=%41", "/plain?x=%41"),
        ("/é", "/é"),
        ("/\x1b[31m", "/\\x1b[31m"),
        ("/\x07\n", "/\\x07\\n"),
        ("/\u202e", "/\\u202e"),
        ("/\udce9", "/\ufffd"),
        ("/\ud800", "/\\ud800"),
    ],
)
def test_text_from_outside_is_harmless(text: str, shown: str) -> None:
    """Text from a client cannot move the cursor or reorder a line."""
    assert terminal.printable(text) == shown
