"""Answers with a page or with JSON, as the client prefers.

Jinja2 is imported with the first page: most runs of the server show none.
"""

import asyncio
import contextvars
import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import hdrs, web

from gae_devserver.clock import Clock
from gae_devserver.console.frame import formats, pages
from gae_devserver.console.frame.live import Live

if TYPE_CHECKING:
    import jinja2

CLOCK = web.AppKey("clock", Clock)
LIVE = web.AppKey("live", Live)
_state: contextvars.ContextVar[Mapping[str, str] | None] = contextvars.ContextVar(
    "state", default=None
)
"""The state that the page shows which is being made."""

_TEMPLATES = Path(__file__).parents[1] / "templates"
# scripts and styles of this server alone, and no way for a page to show this one
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; "
    "style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


async def begin(request: web.Request) -> None:
    """Note the state that a page shows, before its handler reads any of it."""
    if wants_html(request):
        # the first import takes a while, in which the server must go on
        if not _environment.cache_info().currsize:
            await asyncio.to_thread(_environment)
        _state.set(request.app[LIVE].state())


def wants_html(request: web.BaseRequest) -> bool:
    """Return whether the client prefers HTML, as browsers do, to JSON.

    A client that accepts anything gets JSON, and so does a browser with ?format=json.
    """
    if request.query.get("format") == "json":
        return False
    accepted = ",".join(request.headers.getall(hdrs.ACCEPT, []))
    html = _quality(accepted, "text/html")
    return html > 0 and html > _quality(accepted, "application/json")


def _quality(accepted: str, wanted: str) -> float:
    """Return how much a client likes a media type that it names; 0: not at all."""
    for item in accepted.lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        if name == wanted:
            for parameter in parameters:
                if match := re.fullmatch(r"q\s*=\s*([01](?:\.[0-9]*)?)", parameter):
                    return float(match[1])
            return 1.0
    return 0.0


def show(
    request: web.Request, data: Mapping[str, Any], template: str, *, status: int = 200
) -> web.StreamResponse:
    """Answer with `data`, or with the page that a template makes of it.

    The variables of a template are the keys of `data`, and also `path`, `query`,
    `status`, `json_url` and `now`, which is the server's clock.
    """
    headers = {"Vary": "Accept"}
    if not wants_html(request):
        dumps = functools.partial(json.dumps, default=str)
        return web.json_response(data, status=status, headers=headers, dumps=dumps)
    html = (
        _environment()
        .get_template(template)
        .render(
            {
                "path": request.path,
                "query": request.query,
                "json_url": _json_url(request),
                "now": request.app[CLOCK].now(),
                "pages": pages.PAGES,
                "current_page": pages.current(request.path),
                "status": status,
                "live_state": json.dumps(_state.get() or {}),
                **data,
            }
        )
    )
    return web.Response(
        body=formats.visible(html),
        status=status,
        content_type="text/html",
        charset="utf-8",
        headers={**headers, "Cache-Control": "no-store"},
    )


def _json_url(request: web.Request) -> str:
    """Return the URL of the same data in JSON."""
    # as it was sent, since a key of memcache may be any bytes
    url = request.rel_url
    query = f"{url.raw_query_string}&" if url.raw_query_string else ""
    return f"{url.raw_path}?{query}format=json"


def show_error(
    request: web.Request, status: int, text: str, **others: Any
) -> web.StreamResponse:
    """Answer with an error; `others` are further keys of the JSON."""
    return show(request, {"error": text, **others}, "error.html", status=status)


@functools.cache
def _environment() -> "jinja2.Environment":
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= formats.FILTERS
    return environment
