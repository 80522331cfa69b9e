"""Uses a private name of aiohttp: the queue of what a connection has parsed.

aiohttp answers an error in a body only after the request that the body belongs to. The
handler of that request would wait for the rest of the body until its time is over. No
public name of aiohttp tells of the error earlier, or of requests that wait their turn.
"""

from aiohttp import StreamReader, web
from aiohttp.http import RawRequestMessage


def take_error(connection: web.RequestHandler) -> str | None:
    """Remove the error that was parsed last, and return its text; None: no error."""
    parsed = connection._messages
    last = parsed[-1][0] if parsed else None
    if last is None or isinstance(last, RawRequestMessage):
        return None
    parsed.pop()
    return last.message


def last_body(connection: web.RequestHandler) -> StreamReader | None:
    """Return the body of the last request in the queue; None: the queue is empty."""
    parsed = connection._messages
    return parsed[-1][1] if parsed else None
