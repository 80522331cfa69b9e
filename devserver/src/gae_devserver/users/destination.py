"""Where a user goes after signing in or out: only to pages of this server."""

import re
import string
from urllib.parse import quote

from aiohttp import hdrs, web

from gae_devserver.http.server import own_names

# browsers drop tabs and newlines in a URL, and read \ as /
_NOT_IN_A_URL = re.compile(r"[\x00-\x20\\\x7f]")
# "//" would begin a host
_OWN_URL = re.compile(r"(?:(?i:https?)://(?P<host>[^/?#]+))?(?P<path>|[?#].*|/(?!/).*)")


def destination(url: str, request: web.BaseRequest) -> str | None:
    """Return the path of a page of this server; None: the URL leads elsewhere.

    A path keeps the browser on the host that has its cookie, localhost or 127.0.0.1.
    """
    match = _OWN_URL.fullmatch(url)
    if match is None or _NOT_IN_A_URL.search(url):
        return None
    sockname = request.get_extra_info("sockname") or ("", 0)
    host, path = match["host"], match["path"]
    # the port has accepted this name, which may be that of a service
    named = request.headers.get(hdrs.HOST, "").lower()
    own = own_names(*sockname[:2])
    if host is not None and host.lower() != named and host.lower() not in own:
        return None
    return quote(path if path.startswith("/") else f"/{path}", safe=string.punctuation)
