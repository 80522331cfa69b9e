"""Reads the bodies and the query strings of requests to the State API."""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

from aiohttp import web


def limit_in(query: Mapping[str, str], most: int) -> int:
    """Return how many items a page may have.

    Raises:
        web.HTTPBadRequest: the query string has another limit.
    """
    limit = query.get("limit", str(most))
    if not re.fullmatch("[0-9]{1,4}", limit) or not 1 <= int(limit) <= most:
        text = f"limit is {limit!r}, but it must be a number from 1 to {most}."
        raise web.HTTPBadRequest(text=text)
    return int(limit)


def cursor_in(query: Mapping[str, str], first: str) -> list[int]:
    """Return the numbers of a cursor, which are as many as those of the first page.

    Raises:
        web.HTTPBadRequest: the query string has another cursor.
    """
    cursor = query.get("cursor", first)
    numbers = cursor.split("-")
    if len(numbers) != len(first.split("-")) or not all(
        re.fullmatch("[0-9]{1,20}", number) for number in numbers
    ):
        raise _no_cursor(cursor)
    return [int(number) for number in numbers]


def cursor_of(place: bytes) -> str:
    """Return the cursor of a place in a list, which may be any bytes."""
    return base64.urlsafe_b64encode(place).decode()


def place_in(cursor: str) -> bytes:
    """Return the place that a cursor names; empty: the first page.

    Raises:
        web.HTTPBadRequest: this is no cursor.
    """
    try:
        return base64.b64decode(cursor, altchars=b"-_", validate=True)
    except ValueError:
        raise _no_cursor(cursor) from None


def text_place_in(cursor: str) -> str:
    """Return the place that a cursor names, which is text.

    Raises:
        web.HTTPBadRequest: this is no cursor.
    """
    try:
        return place_in(cursor).decode()
    except UnicodeDecodeError:
        raise _no_cursor(cursor) from None


def _no_cursor(cursor: str) -> web.HTTPBadRequest:
    text = f"cursor is {cursor!r:.100}. Send the one of the page before."
    return web.HTTPBadRequest(text=text)


async def read(request: web.Request, most: int) -> bytes:
    """Return the body of a request, which may be longer than aiohttp's own limit.

    Raises:
        web.HTTPRequestEntityTooLarge: it is longer than `most` bytes.
    """
    body = bytearray()
    async for part in request.content.iter_any():
        body += part
        if len(body) > most:
            raise web.HTTPRequestEntityTooLarge(
                max_size=most,
                actual_size=len(body),
                text=f"The body has more than {most:,} bytes. Nothing was changed.",
            )
    return bytes(body)


def fields_in(body: bytes, example: str) -> dict[str, Any]:
    """Return the fields of an object.

    Raises:
        web.HTTPBadRequest: the body is no JSON object.
    """
    expected = f"The body must be an object such as {example}."
    fields = json_in(body, expected)
    if not isinstance(fields, dict):
        raise web.HTTPBadRequest(text=expected)
    return fields


def json_in(body: bytes, expected: str) -> Any:
    """Return what a body holds.

    Raises:
        web.HTTPBadRequest: the body is not JSON; the answer says what is expected.
    """
    try:
        return json.loads(body or b"null")
    except (ValueError, RecursionError) as error:
        raise web.HTTPBadRequest(
            text=f"The body is not valid JSON ({error}). {expected}"
        ) from None
