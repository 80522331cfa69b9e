"""Draw odd headers and payloads, and call a check with many of them."""

import collections
from collections.abc import Callable, Collection, Mapping
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

Header = tuple[bytes, bytes]

_OF_APP_ENGINE = [
    "X-AppEngine-TaskName",
    "X-AppEngine-QueueName",
    "X-AppEngine-TaskRetryCount",
    "X-AppEngine-User-IP",
    "X-AppEngine-Remote-Addr",
    "X-AppEngine-Api-Ticket",
    "X-AppEngine-User-Is-Admin",
    "X-AppEngine-Server-Software",
    "X-AppEngine-Cron",
    "X-AppEngine-Https",
    "X-AppEngine-",
    "X-Google-Internal-SkipAdminCheck",
]
_ORDINARY = b"""\
X-Mine: a
x_mine: a
XAppEngine-TaskName: task1
Accept: */*
Authorization: Basic eDp4
Te: trailers
Connection: X-Mine
connection: X-AppEngine-User-IP,x_mine
Expect: 100-continue
Content-Encoding: gzip
Via: 1.1 x
Content-Type: text/plain
Cookie: a=b; c
Range: bytes=1
Content_Length: 7
Transfer_Encoding: chunked
If-Match: x
""".splitlines()
_ODD_NAMES = [
    b"",
    b" X-A",
    b"X-AppEngine-TaskName ",
    b"X-AppEngine\tTaskName",
    b"X-A:B",
    b"X-\x00",
    b"X-AppEngine-Taskname\x0b",
    b"X-\xc3\x84",
    b"\nX-AppEngine-A",
    b"Transfer-Encoding",
    b"Content-Length",
    b"Expect",
    b"Upgrade",
    b"Connection",
]
_ODD_VALUES = [
    b"0",
    b"-1",
    b"5, 6",
    b"chunked",
    b"h2c",
    b"",
    b"a\x00b",
    b"x" * 9000,
    b"a\x7f",
    b"a\r\nX-AppEngine-TaskName: task1",
    b"a\n X-AppEngine-TaskName: task1",
]


def often(*choices: tuple[int, SearchStrategy[Any]]) -> SearchStrategy[Any]:
    """Draw from these strategies, from those of more weight more often."""
    spread = [strategy for weight, strategy in choices for _ in range(weight)]
    return st.sampled_from(spread).flatmap(lambda strategy: strategy)


@st.composite
def _spelled(draw: st.DrawFn, name: str) -> bytes:
    """Draw a spelling of a name that is the same name in WSGI."""
    spelled = draw(st.sampled_from([name, name.lower(), name.upper(), name.swapcase()]))
    dashes = st.sampled_from("--_")
    letters = [draw(dashes) if letter == "-" else letter for letter in spelled]
    return "".join(letters).encode()


FORGED_NAMES = st.sampled_from(_OF_APP_ENGINE).flatmap(_spelled)
"""Headers that only App Engine may set, in all spellings that HTTP allows."""

ORDINARY = st.sampled_from(_ORDINARY).map(lambda line: tuple(line.split(b": ")))
"""Headers that a server accepts."""

ODD = st.tuples(
    st.one_of(st.sampled_from(_ODD_NAMES), st.binary(max_size=8)),
    st.one_of(st.sampled_from(_ODD_VALUES), st.binary(max_size=4)),
)
"""Headers that many servers refuse."""


@st.composite
def with_one_byte(draw: st.DrawFn, data: bytes) -> bytes:
    """Draw the same bytes with one byte more, less or changed."""
    place = draw(st.integers(0, len(data) - 1))
    change = draw(st.sampled_from(["put in", "leave out", "replace", "cut off"]))
    if change == "cut off":
        return data[:place]
    byte = b"" if change == "leave out" else draw(st.binary(min_size=1, max_size=1))
    rest = data[place:] if change == "put in" else data[place + 1 :]
    return data[:place] + byte + rest


def check_many(
    check: Callable[..., Collection[str]],
    *strategies: SearchStrategy[object],
    at_least: Mapping[str, float],
) -> None:
    """Call `check` with many inputs of these kinds.

    `check` returns how far an input got. At least these shares of the inputs must reach
    each goal, or the test could not fail. They are far below the usual ones.
    """
    reached: collections.Counter[str] = collections.Counter()

    @settings(
        database=None,
        deadline=None,
        derandomize=False,  # other inputs in each run, in CI too
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.tuples(*strategies))
    def call(values: tuple[object, ...]) -> None:
        reached.update(check(*values))

    call()
    inputs = settings().max_examples
    for goal, share in at_least.items():
        assert reached[goal] >= share * inputs, f"{goal}: {reached[goal]} of {inputs}"
