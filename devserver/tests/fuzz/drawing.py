"""Strategies that hypothesis does not have."""

from typing import TypeVar

from hypothesis import strategies as st

Value = TypeVar("Value")


def weighted(
    *choices: tuple[int, st.SearchStrategy[Value]],
) -> st.SearchStrategy[Value]:
    """Return values of these strategies, more often of those with a higher weight.

    one_of ignores a strategy that it gets a second time.
    """
    spread = [strategy for weight, strategy in choices for _ in range(weight)]
    return st.integers(0, len(spread) - 1).flatmap(lambda place: spread[place])


@st.composite
def with_one_byte(draw: st.DrawFn, data: bytes) -> bytes:
    """Draw the same bytes with one inserted, removed or replaced.

    No byte is added at the end: that would be the start of the next request.
    """
    place = draw(st.integers(0, len(data) - 1))
    byte = draw(
        st.one_of(
            st.sampled_from([b"\r", b"\n", b" ", b":", b"\x00", b"\x7f", b"\x80"]),
            st.sampled_from([b"-", b"_", b"0", b"1", b"a", b"/", b"\t", b";", b","]),
            st.text("axX09.=", min_size=1, max_size=1).map(str.encode),
            st.binary(min_size=1, max_size=1),
        )
    )
    change = draw(st.sampled_from(["put in", "leave out", "replace"] * 3 + ["end"]))
    if change == "end":
        return data[:place]
    rest = data[place:] if change == "put in" else data[place + 1 :]
    return data[:place] + (b"" if change == "leave out" else byte) + rest
