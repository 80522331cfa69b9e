"""Requests and answers, parsed without losing a byte."""


class Answer:
    """An answer."""

    def __init__(self, data: bytes) -> None:
        self.raw_head, _, self.body = data.partition(b"\r\n\r\n")
        first, *lines = self.raw_head.decode("latin-1").split("\r\n")
        self.status = int(first.split()[1])
        self.reason = first.split(maxsplit=2)[2]
        self.headers = [tuple(line.split(": ", 1)) for line in lines]

    def all(self, name: str) -> list[str]:
        """Return the values of a header."""
        return [h[1] for h in self.headers if h[0].lower() == name.lower()]


class Recorded:
    """A request as the app got it."""

    def __init__(self, data: bytes) -> None:
        self.head, _, self.body = data.partition(b"\r\n\r\n")
        self.request_line, *self.lines = self.head.split(b"\r\n")
        self.headers = dict(
            line.decode("latin-1").partition(": ")[::2] for line in self.lines
        )

    @property
    def from_outside(self) -> list[bytes]:
        """The header lines that are not App Engine's."""
        own = (b"X-Appengine-", b"X-Cloud-Trace-Context:", b"X-Forwarded-For:")
        return [line for line in self.lines if not line.startswith(own)]
