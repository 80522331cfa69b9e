"""Forms as browsers send them."""

import dataclasses

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
