"""The name of a task's function, read without unpickling the task."""

import pickle
import pickletools
from collections.abc import Callable

import pytest
from google.appengine.ext import deferred
from hypothesis import given
from hypothesis import strategies as st

from gae_devserver.tasks.function_names import function_name

# it is defined in this module in every Python, and a pickle names that module
FUNCTION = pickletools.optimize


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_names_the_function_in_every_protocol(protocol: int) -> None:
    """Protocols 0 to 3 name a function with one opcode, 4 and 5 with three."""
    payload = pickle.dumps((FUNCTION, ("a", 1), {"b": 2}), protocol)
    assert function_name(payload) == "pickletools.optimize"


class Counter:
    """A class with methods that can be deferred."""

    def add(self, amount: int) -> None:
        """Defer a method of an object."""

    @classmethod
    def make(cls) -> None:
        """Defer a method of the class."""

    @staticmethod
    def check() -> None:
        """Defer a function inside a class."""

    def __call__(self) -> None:
        """Defer an object."""


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    ("method", "name"),
    [
        (Counter().add, "Counter.add"),
        (Counter.make, "Counter.make"),
        (Counter.check, "Counter.check"),
        (Counter(), "Counter"),
    ],
)
def test_it_names_a_method_with_its_class(
    protocol: int, method: Callable[..., None], name: str
) -> None:
    """The SDK's `defer` pickles a method as a call of `invoke_member`."""
    call = deferred.deferred._curry_callable(method, 5)
    assert function_name(pickle.dumps(call, protocol)) == f"{__name__}.{name}"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"garbage",
        b"name=value&other=1",
        b'{"json": true}',
        pickle.dumps("only a string"),
        pickle.dumps(({"no": "function"}, 1)),
        pickle.dumps((FUNCTION,))[:8],
        b"\x80\x04\x93.",
        b"cos\nsystem",
        b"\xff" * 100,
        # names that Python cannot import do not get into a log or a page
        b"cmodule\nfunction; rm -r\n.",
        b"cmodule\n\x1b[31mred\n.",
        b"cmodule\n" + b"x" * 300 + b"\n.",
        b"c\nfunction\n.",
        "cmodulé\nfunction\n.".encode(),
        # a hostile payload is not read to its end: only the first opcodes count
        b"\x80\x02" + b"0" * 20 + b"cpickletools\noptimize\n.",
    ],
)
def test_other_payloads_have_no_name(payload: bytes) -> None:
    """Other payloads give None, and no error."""
    assert function_name(payload) is None


@given(st.binary(max_size=200))
def test_no_bytes_raise(payload: bytes) -> None:
    """Any bytes give a dotted name or None."""
    name = function_name(payload)
    assert name is None or "." in name
