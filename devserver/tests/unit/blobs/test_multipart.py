"""Forms are read piece by piece, wherever the pieces end."""

import pytest

from gae_devserver.blobs.multipart import MultipartError, boundary_of
from tests.helpers.forms import BOUNDARY, FORM, Part, contents, form

DELIMITER = b"\r\n--" + BOUNDARY.encode()


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [1, 2, 3, 17, 2**16])
async def test_no_piece_ends_in_a_wrong_place(size: int) -> None:
    """What begins like a boundary is content, and so are line ends."""
    parts = [
        Part(b""),
        Part(b"\r\n"),
        Part(b"-" * 50 + DELIMITER[:-1]),
        Part(DELIMITER + b"x" + DELIMITER + b" -\r\n" + DELIMITER + b"-"),
        Part(b"--" + BOUNDARY.encode() + b"x"),
        Part(DELIMITER + b" " * 200),
    ]
    assert await contents(form(*parts), size) == [part.content for part in parts]


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [1, 2**16])
async def test_what_surrounds_a_form_has_no_meaning(size: int) -> None:
    """A preamble, an epilogue, and spaces after a boundary are allowed."""
    body = form(Part(b"a")).replace(b"\r\nContent", b" \t\r\nContent", 1)
    assert await contents(b"before\r\n" + body + b"after", size) == [b"a"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "body",
    [
        b"",
        form(Part(b"a")).replace(b"\r\n", b"\n"),
        form(Part(b"a"))[:-4],
        form(Part(content_type="a/b\r\nno colon")),
        form(Part(content_type="a/b\r\n folded: 1")),
        form(Part(filename="a\0")),
        form(Part(filename="x" * 20_000)),
        b"--" + BOUNDARY.encode() + b"\r\n" + b"x" * 20_000,
    ],
)
async def test_a_malformed_form_is_an_error(body: bytes) -> None:
    """No part of it is guessed."""
    with pytest.raises(MultipartError):
        await contents(body, 100)


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "multipart/mixed; boundary=x", "multipart/form-data", "x/;;="]
    + [f"multipart/form-data; boundary={b}" for b in ('""', "x" * 71, '"a\r\nb"', "é")],
)
def test_a_boundary_is_required(content_type: str) -> None:
    """The Content-Type of a form names it."""
    assert boundary_of(FORM["Content-Type"]) == BOUNDARY
    with pytest.raises(MultipartError):
        boundary_of(content_type)
