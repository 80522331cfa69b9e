"""The limits of an HTTP port: what clients and the app may send, and how slowly."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a client may send to a port, and what the app may answer."""

    body: int = 32 * 2**20
    """Bytes in the body of a request (App Engine's limit)."""
    small_body: int = 2**16
    """Bytes of a body that needs no share of `bodies`."""
    bodies: int = 256 * 2**20
    """Bytes in all larger bodies that a port holds at a time."""
    answer: int = 32 * 2**20
    """Bytes in the body of the app's answer (App Engine's limit); files have none."""
    answer_head: int = 8 * 2**10
    """Bytes in the headers of the app's answer (App Engine's limit)."""
    target: int = 8170
    """Bytes in the URL; gunicorn takes 8,190 with the method and the version."""
    header: int = 8190
    """Bytes in each header."""
    headers: int = 128
    """Headers in a request."""
    connections: int = 512
    """Connections that a port holds at a time; fewer if this process may have fewer."""
    refused: int = 32
    """Connections beyond the limit from which the port waits for a request."""
    head_seconds: float = 20.0
    """Time to send the request line and headers."""
    body_seconds: float = 120.0
    """Time to send the body."""
    bodies_seconds: float = 30.0
    """Time that a body waits for its share of `bodies`."""
    stalled_seconds: float = 60.0
    """Time without reading any of an answer that waits."""
    idle_seconds: float = 75.0
    """Time without a request; browsers keep connections for about a minute."""
    lingering_seconds: float = 5.0
    """Time to send the rest of a body after an early answer.

    A client that is still sending when the connection ends may never see the answer.
    """
    refused_seconds: float = 2.0
    """Time until a connection beyond the limit is closed if it sends nothing."""


DEFAULT_LIMITS = Limits()
