"""Where a user goes after signing in or out: only to pages of this server."""

import re
import string
from urllib.parse import quote, urlsplit

from aiohttp import web

from gae_devserver.http.server import own_names

# browsers drop tabs and newlines in a URL, and read \ as /
_NOT_IN_A_URL = re.compile(r"[\x00-\x20\\\x7f]")


def destination(url: str, request: web.BaseRequest) -> str | None:
    """Return the path of a page of this server; None: the URL leads elsewhere.

    The path keeps the browser on the host that has its cookie, which is localhost or
    127.0.0.1.
    """
    if _NOT_IN_A_URL.search(url):
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme or parts.netloc:
        sockname = request.get_extra_info("sockname") or ("", 0)
        own = own_names(*sockname[:2])
        if parts.scheme not in ("http", "https") or parts.netloc.lower() not in own:
            return None
    path = parts._replace(scheme="", netloc="", path=parts.path or "/").geturl()
    # "//" would begin a host
    if not path.startswith("/") or path.startswith("//"):
        return None
    return quote(path, safe=string.punctuation)
