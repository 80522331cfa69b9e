"""Answers with bytes of the app, which no browser may run on this origin."""

from typing import Any
from urllib.parse import quote

from aiohttp import web


def attachment(
    body: Any, size: int, name: str, *, content_type: str = "application/octet-stream"
) -> web.Response:
    """Return a file to save, whatever is in it."""
    headers = {"Content-Type": content_type, "Content-Length": str(size)}
    return web.Response(body=body, headers=headers | disposition(name))


def disposition(name: str) -> dict[str, str]:
    """Return the header that lets a browser save an answer under a name."""
    # no character of the name can end the header or the value
    encoded = quote(name.encode(errors="replace")[:500], safe="")
    named = f"; filename*=UTF-8''{encoded}" if name else ""
    return {"Content-Disposition": f"attachment{named}"}
