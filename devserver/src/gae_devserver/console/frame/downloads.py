"""Answers with bytes of the app, which no browser may run on this origin."""

from typing import Any
from urllib.parse import quote

from aiohttp import web


def attachment(
    body: Any, size: int, name: str, *, content_type: str = "application/octet-stream"
) -> web.Response:
    """Return a file to save, whatever is in it."""
    # no character of the name can end the header or the value
    encoded = quote(name.encode(errors="replace")[:500], safe="")
    named = f"; filename*=UTF-8''{encoded}" if name else ""
    headers = {
        "Content-Type": content_type,
        "Content-Length": str(size),
        "Content-Disposition": f"attachment{named}",
    }
    return web.Response(body=body, headers=headers)
