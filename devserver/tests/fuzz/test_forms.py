"""Uploaded forms: any form is read exactly, and a broken one is an error."""

import asyncio
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gae_devserver.blobs.multipart import MultipartError, parse
from gae_devserver.blobs.rewriting import Part
from tests.fuzz.conftest import Reached
from tests.helpers import forms

CONTENT = st.lists(
    st.sampled_from([b"\r\n", b"--", forms.BOUNDARY.encode(), b"-", b"\r", b"x", b" "])
    | st.binary(max_size=20),
    max_size=8,
).map(b"".join)
FORMS = st.lists(st.builds(forms.Part, CONTENT), max_size=5).filter(
    # no client sends a boundary that occurs in the content
    lambda parts: not any(forms.BOUNDARY.encode() in part.content for part in parts)
)
"""Parts whose content resembles boundaries."""


@given(FORMS, st.integers(1, 40))
def test_every_form_is_read_exactly(
    loop: asyncio.Runner, parts: list[forms.Part], size: int
) -> None:
    """The pieces in which it arrives make no difference."""
    read = loop.run(forms.contents(forms.form(*parts), size))
    assert read == [part.content for part in parts]


@pytest.mark.reaches(headers=0.2, error=0.1)
@given(FORMS, st.integers(0, 2**16), CONTENT, st.integers(0, 3), st.integers(1, 40))
def test_a_broken_form_is_an_error_or_a_form(
    loop: asyncio.Runner,
    reached: Reached,
    parts: list[forms.Part],
    at: int,
    other: bytes,
    deleted: int,
    size: int,
) -> None:
    """Whatever is replaced in a form, there is no other exception, and an end."""
    body = forms.form(*parts)
    at %= len(body)
    body = body[:at] + other + body[at + deleted :]
    goals = []

    async def read() -> None:
        async for part in parse(forms.pieces_of(body, size), forms.BOUNDARY):
            if isinstance(part, Message):
                goals.append("headers")
                Part.of(part)

    try:
        loop.run(read())
    except MultipartError:
        goals.append("error")
    reached(*set(goals))
