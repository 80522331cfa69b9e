"""Lines of several requests on one terminal."""

import io

from gae_devserver.output import Output
from gae_devserver.testing import wait_until


def test_lines_of_a_request_stand_together() -> None:
    """The first one prints at once; the others follow when it has ended, in order."""
    stream = io.StringIO()
    output = Output(stream, hold_seconds=60)
    for text, request in [("a1", 1), ("b1", 2), ("c1", 3), ("b2", 2), ("own", None)]:
        output.write(f"{text}\n", request)
    output.write_after("after b\n", 2)
    output.end(2)
    assert stream.getvalue().split() == ["a1", "own"]
    output.write("a2\n", 1)
    output.end(1)
    expected = "a1\nown\na2\nb1\nb2\nafter b\nc1\n"
    assert stream.getvalue() == expected
    output.write("c2\n", 3)
    assert stream.getvalue() == f"{expected}c2\n"


def test_half_of_a_character() -> None:
    """A text that has one is printed, and so are the lines after it."""
    stream = io.StringIO()
    output = Output(stream, hold_seconds=0.01)
    output.write("a\n", 1)
    output.write("half \ud800\n", 2)
    wait_until(lambda: "half" in stream.getvalue(), "the line that waits")
    output.end(1)
    output.write("b\n", 3)
    output.end(3)
    assert stream.getvalue() == "a\nhalf \\ud800\nb\n"


def test_no_line_waits_for_long() -> None:
    """The lines of others appear while the first request still runs."""
    stream = io.StringIO()
    output = Output(stream, hold_seconds=0.01)
    output.write("a\n", 1)
    output.write("b1\n", 2)
    output.write("b2\n", 2)
    output.write_after("after c\n", 3)
    wait_until(lambda: "after c" in stream.getvalue(), "the line that waits")
    assert stream.getvalue().startswith("a\nb1\nb2\n")
