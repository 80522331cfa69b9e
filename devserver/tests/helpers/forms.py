"""Forms as browsers send them, and what is read of them."""

import dataclasses
from collections.abc import AsyncIterator
from email.message import Message

from gae_devserver.blobs.multipart import parse

BOUNDARY = "----boundary"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


@dataclasses.dataclass(frozen=True)
class Part:
    """A file, or a field, of a form."""

    content: bytes = b"hello"
    filename: str | None = "a.txt"
    """None: it is a field."""
    content_type: str = "text/plain"
    name: str = "file"

    def encoded(self) -> bytes:
        """Return the part as it is sent."""
        head = f'Content-Disposition: form-data; name="{self.name}"'
        if self.filename is not None:
            head += f'; filename="{self.filename}"\r\nContent-Type: {self.content_type}'
        return f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + self.content + b"\r\n"


def form(*parts: Part) -> bytes:
    """Return a form."""
    encoded = b"".join(part.encoded() for part in parts)
    return encoded + f"--{BOUNDARY}--\r\n".encode()


async def pieces_of(body: bytes, size: int) -> AsyncIterator[bytes]:
    """Yield a body in pieces of `size` bytes."""
    for at in range(0, len(body), size):
        yield body[at : at + size]


async def contents(body: bytes, size: int = 2**16) -> list[bytes]:
    """Return the content of each part of a form that arrives in pieces."""
    found: list[bytes] = []
    async for part in parse(pieces_of(body, size), BOUNDARY):
        if isinstance(part, Message):
            found.append(b"")
        else:
            found[-1] += part
    return found
