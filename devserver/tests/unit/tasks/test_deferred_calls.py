"""The call of a deferred task, read without unpickling the task."""

import contextlib
import datetime
import decimal
import pickle
import time
from typing import Any

import pytest
from google.appengine.ext import db, deferred, ndb
from hypothesis import given
from hypothesis import strategies as st

from gae_devserver.tasks.deferred_calls import read_call
from gae_devserver.tasks.pickles import UnreadableError
from tests.helpers.calls import APP_ID

UTC = "datetime.timezone(datetime.timedelta(0, 0, 0))"


class Counter(ndb.Model):  # type: ignore[misc]
    """An entity whose method is deferred."""

    count = ndb.IntegerProperty()

    def add(self, amount: int) -> None:
        """Do nothing."""


class Plain:
    """A class of the app."""


def pickled(function: Any, *args: Any, protocol: int = 5, **kwargs: Any) -> bytes:
    """Return the payload of a deferred call."""
    call = deferred.deferred._curry_callable(function, *args, **kwargs)
    return pickle.dumps(call, protocol)


KEY = ndb.Key("Counter", "x", app=APP_ID, namespace="ns")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    ("value", "text"),
    [
        *(
            (value, repr(value))
            for value in (7, -1.5, True, None, "t\u00e9\n", b"\xff")
        ),
        *((value, repr(value)) for value in ((1,), [1, [2]], {"a": {1: 2}}, (), [])),
        *((value, repr(value)) for value in ({1}, set(), frozenset({"a"}), b"")),
        (datetime.datetime(2026, 1, 2, 3, 4), "datetime.datetime(2026, 1, 2, 3, 4)"),
        (datetime.date(2026, 1, 2), "datetime.date(2026, 1, 2)"),
        (
            datetime.time(1, 2, tzinfo=datetime.UTC),
            f"datetime.time(1, 2, tzinfo={UTC})",
        ),
        (decimal.Decimal("1.5"), "decimal.Decimal('1.5')"),
        (KEY, "Key('Counter', 'x', namespace='ns')"),
        (db.Key.from_path("A", 1, "B", "c", _app=APP_ID), "Key('A', 1, 'B', 'c')"),
        (Plain(), f"<{__name__}.Plain …>"),
        (Plain, f"{__name__}.Plain"),
        (2**600, "<integer of 601 bits>"),
    ],
)
def test_arguments_are_shown_as_text(protocol: int, value: Any, text: str) -> None:
    """Plain values and keys as Python writes them, and others by their class."""
    call = read_call(pickled(time.sleep, value, step=value, protocol=protocol))
    assert (call.function, call.owner) == ("time.sleep", None)
    assert call.arguments == (text, f"step={text}")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_method_is_shown_with_its_object(protocol: int) -> None:
    """An entity is shown by its key."""
    entity = Counter(key=KEY, count=1)
    call = read_call(pickled(entity.add, 5, protocol=protocol))
    assert call.text == f"{__name__}.Counter.add(5)"
    key = "Key('Counter', 'x', namespace='ns')"
    assert call.owner == f"{__name__}.Counter(key={key})"


def test_a_call_that_is_stored_in_the_datastore() -> None:
    """The SDK stores a call that is too large for a task; its task has the key."""
    payload = deferred.serialize(deferred.run_from_datastore, "urlsafe")
    assert read_call(payload).stored_at == "urlsafe"


def test_text_of_python_2() -> None:
    """It may be any bytes, in the form of protocol 0 too."""
    call = read_call(b"(cjobs\nwork\n(S'caf\\xe9'\nS'a\\n\\'\\e'\nt(dt.")
    assert call.arguments == (repr(b"caf\xe9"), repr("a\n'e"))


def shared(levels: int) -> list[Any]:
    """Return a list that a memo makes exponentially long."""
    value: list[Any] = []
    for _ in range(levels):
        value = [value] * 3
    return value


@pytest.mark.parametrize(
    "payload",
    [
        pickled(time.sleep, shared(60)),
        pickled(time.sleep, list(range(50_000))),
        pickled(time.sleep, *range(5_000)),
        pickled(time.sleep, *["x" * 100_000] * 2_000, protocol=2),
        pickled(time.sleep, [b"\xff" * 100_000] * 2_000, protocol=2),
        pickled(time.sleep, 1 << 800_000),
        b"\x80\x02ctime\nsleep\n" + b"(" * 50_000 + b"t" * 50_000 + b".",
        b"\x80\x02ctime\nsleep\n(" + (b"L" + b"9" * 4000 + b"L\n0") * 250 + b"t}\x87.",
    ],
)
def test_a_hostile_pickle_is_read_in_part(payload: bytes) -> None:
    """However large, deep or repetitive: within milliseconds, and to a short text."""
    began = time.thread_time()
    call = read_call(payload)
    # it takes some 15 ms at most, if the machine does nothing else
    assert time.thread_time() - began < 0.2
    assert call.function == "time.sleep"
    assert len("".join(call.arguments)) < 60_000
    assert len(call.text) < 2_100


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "ends early"),
        (b"name=value", "byte 0"),
        (b"\x80\x09.", "protocol is 9"),
        (pickle.dumps("text"), "function"),
        (pickled(time.sleep, 1)[:-3], "byte"),
        (b"(ttt.", "broken"),
        (b"\x80\x02ctime\nsleep\n(X", "broken"),
        (b"c\x1b[31m\nsleep\n(t}\x87.", "function"),
    ],
)
def test_the_reason_why_a_payload_is_not_read(payload: bytes, reason: str) -> None:
    """The error says what is wrong with it."""
    with pytest.raises(UnreadableError, match=reason):
        read_call(payload)


@given(st.binary(max_size=200))
def test_other_bytes_raise_no_other_error(payload: bytes) -> None:
    """Any bytes are a call, or unreadable."""
    with contextlib.suppress(UnreadableError):
        assert "." in read_call(b"\x80\x04" + payload).function
