"""How a task's function is named without unpickling the task."""

import os
import pickle
import pickletools
from typing import Any

import pytest
from google.appengine.ext import deferred
from hypothesis import given
from hypothesis import strategies as st

from gae_devserver.tasks.function_names import function_name

# a function that is known by one name in every Python: a pickle names the module
# in which it is defined
FUNCTION = pickletools.optimize
NAME = "pickletools.optimize"


class Touch:
    """Its pickle makes a file when it is loaded."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_names_the_function_in_every_protocol(protocol: int) -> None:
    """Protocols 0 to 3 name a function with one opcode, 4 and 5 with three."""
    payload = pickle.dumps((FUNCTION, ("a", 1), {"b": 2}), protocol)
    assert function_name(payload) == NAME


def test_it_names_what_defer_pickles() -> None:
    """The payload that the SDK's own `defer` makes is understood."""
    assert function_name(deferred.serialize(FUNCTION, 10, key="x")) == NAME


def test_it_names_a_bound_method_by_its_helper() -> None:
    """A method is pickled by the SDK as a call of `invoke_member`."""
    payload = deferred.serialize(deferred.invoke_member, FUNCTION, "method")
    assert (
        function_name(payload) == "google.appengine.ext.deferred.deferred.invoke_member"
    )


def test_a_payload_is_never_loaded(tmp_path: Any) -> None:
    """A hostile pickle is named, and does nothing."""
    target = tmp_path / "made"
    payload = pickle.dumps(Touch(str(target)), 2)
    assert function_name(payload) == f"{os.mkdir.__module__}.mkdir"
    assert not target.exists()
    pickle.loads(payload)
    assert target.exists(), "the payload was not hostile"


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
    ],
)
def test_other_payloads_have_no_name(payload: bytes) -> None:
    """Whatever is no pickle of a function gives None, and no error."""
    assert function_name(payload) is None


@pytest.mark.parametrize(
    "name",
    [
        b"module\nfunction; rm -r",
        b"module\n\x1b[31mred",
        b"module\n" + b"x" * 300,
        b"\nfunction",
        "modulé\nfunction".encode(),
    ],
)
def test_what_python_could_not_import_is_not_shown(name: bytes) -> None:
    """A name from a stranger does not get into a log or a page as it is."""
    assert function_name(b"c" + name + b"\n.") is None


def test_a_long_payload_is_not_read_to_its_end() -> None:
    """A payload of a million opcodes before the name is given up soon."""
    payload = b"\x80\x02" + b"0" * 10**6 + b"cpickletools\noptimize\n."
    assert function_name(payload) is None


@given(st.binary(max_size=200))
def test_no_bytes_raise(payload: bytes) -> None:
    """Any bytes give a dotted name or None."""
    name = function_name(payload)
    assert name is None or "." in name
