"""Errors among all that an app prints: found, and never a reason to stop."""

import itertools
from pathlib import Path

import pytest

from gae_devserver.app.advice.running import RunningAdvice

FOLDER = Path("/app")
ERROR = "TypeError: cannot pickle '_thread.lock' object"
DEFERRED = "/env/site-packages/google/appengine/ext/deferred/deferred.py"


def traceback(number: int, error: str = ERROR) -> list[str]:
    """Return the lines of a traceback through this line of the app."""
    return [
        "Traceback (most recent call last):",
        f'  File "/app/main.py", line {number}, in view',
        "    deferred.defer(f, lock)",
        f'  File "{DEFERRED}", line 271, in serialize',
        "    return pickle.dumps(curried, protocol)",
        error,
    ]


def advice(caplog: pytest.LogCaptureFixture, *lines: str | bytes) -> list[str]:
    """Return what is logged while an app that is ready prints these lines."""
    running = RunningAdvice(FOLDER)
    running.start()
    for line in lines:
        running.see((line.encode() if isinstance(line, str) else line) + b"\n")
    return [record.getMessage() for record in caplog.records]


def test_advice_waits_until_the_app_is_ready(caplog: pytest.LogCaptureFixture) -> None:
    """If the app ends before it is ready, the advice is in the reason instead."""
    running = RunningAdvice(FOLDER)
    for line in traceback(7) + traceback(8):
        running.see(f"{line}\n".encode())
    assert caplog.records == []
    running.start()
    (record,) = caplog.records
    assert record.getMessage().startswith(f"main.py, line 7: {ERROR}. ")


def test_an_exception_with_notes(caplog: pytest.LogCaptureFixture) -> None:
    """Since Python 3.14, pickle adds some."""
    running = RunningAdvice(FOLDER)
    running.start()
    running.see_traceback("\n".join([*traceback(7), "when serializing tuple item 0"]))
    (record,) = caplog.records
    assert record.getMessage().startswith(f"main.py, line 7: {ERROR}. ")


def test_no_advice_while_the_app_ends(caplog: pytest.LogCaptureFixture) -> None:
    """Calls that the end of the server cuts off are no mistake of the app."""
    running = RunningAdvice(FOLDER)
    running.start()
    running.stop()
    for line in traceback(7):
        running.see(f"{line}\n".encode())
    assert caplog.records == []


@pytest.mark.parametrize(
    ("error", "fact"),
    [
        ("AttributeError: Can't get local object 'view.<locals>.f'", "top level"),
        ("PicklingError: Can't pickle a: attribute lookup f on a failed", "that name"),
        ("AttributeError: Can't get attribute 'f' on <module '__main__'>", "program"),
        ("TypeError: cannot pickle 'TextIOWrapper' instances", "plain data"),
    ],
)
def test_what_cannot_be_deferred(
    caplog: pytest.LogCaptureFixture, error: str, fact: str
) -> None:
    """Other versions of Python use other words for the same mistake."""
    (message,) = advice(caplog, *traceback(7, error))
    assert "`deferred.defer(f, lock)`" in message or fact == "program"
    assert fact in message


def test_an_old_release_of_google_cloud_logging(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its error says nothing of the cause: it finds no metadata server of Google."""
    error = "ParseError: Failed to parse resource field: Failed to parse labels field."
    (message,) = advice(caplog, *traceback(7, error))
    assert "release of google-cloud-logging" in message


HARMLESS = [*traceback(8)[:3], "KeyError: 'a'"]
NESTED = traceback(7)[:3] + HARMLESS + traceback(7)[3:]
MIXED = [*itertools.chain(*zip(traceback(7), traceback(8), strict=True))]


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        # of one worker inside that of another, and line by line
        (NESTED, "main.py, line 7: "),
        (MIXED, ""),
        # the head is no longer kept, as after a deep recursion
        (["  File"] * 1000 + traceback(7)[1:], "main.py, line 7: "),
        # with the error that led to this one, and with lines of a log
        ([*HARMLESS, "", "During …", "", *traceback(7)], "main.py, line 7: "),
        (["SyntaxWarning: a", "  b", *traceback(7), "INFO: c"], "main.py, line 7: "),
    ],
)
def test_output_of_several_workers(
    caplog: pytest.LogCaptureFixture, lines: list[str], place: str
) -> None:
    """The line of the app is the right one, or none."""
    (message,) = advice(caplog, *lines)
    assert message.startswith(f"{place}{ERROR}. ")


@pytest.mark.parametrize(
    "lines",
    [
        [b"\xff\x00\x1b[2J" * 99, b"  \xff", b"E\xff: \x00"],
        [b" " * 2**20, b"TypeError: " + b"a: " * 2**18],
        [b"", b" ", b"", b"\t", b"Traceback (most recent call last):", b""],
        [b'  File "', b"KeyError", b'  File "x", line ' + b"9" * 5000, b"KeyError"],
        [b"Traceback (most recent call last):"] * 400 + [b" ", b"KeyError: 1"],
        [b" a", b"KeyError: 1"] * 400,
        [ERROR.encode()],
    ],
)
def test_nasty_output(caplog: pytest.LogCaptureFixture, lines: list[bytes]) -> None:
    """It is passed over, and what follows is still explained."""
    caplog.set_level("DEBUG")
    assert len(advice(caplog, *lines, *traceback(7))) == 1
