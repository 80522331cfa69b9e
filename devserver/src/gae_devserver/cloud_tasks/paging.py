"""Pages of lists that are ordered by name."""

import base64
from typing import Any

from gae_devserver.rpc.errors import InvalidArgumentError, check


def page(request: Any, most: int) -> tuple[int, str]:
    """Return the size of the page that a request asks for, and its first name.

    Raises:
        InvalidArgumentError: the size is negative, or no page has had the token.
    """
    size = request.page_size
    check(size >= 0, f"page_size is {size}, but it must be 0 or more.")
    try:
        first = base64.b64decode(request.page_token.encode(), b"-_", True).decode()
    except ValueError:
        raise InvalidArgumentError(
            f"page_token is {request.page_token!r}, but it must be the next_page_token "
            "of the page before."
        ) from None
    return min(size or most, most), first


def start_of(name: str) -> str:
    """Return the token of the page that starts with a name."""
    return base64.urlsafe_b64encode(name.encode()).decode()
