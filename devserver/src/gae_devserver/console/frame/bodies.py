"""Reads the bodies and the query strings of requests to the State API."""

import base64
import datetime
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from gae_devserver.clock import MAX_ADVANCE_SECONDS
from gae_devserver.console.frame.formats import iso
from gae_devserver.cron.jobs import Job

_ADVANCES = (
    'The body must be {"to": "next_task"}, {"to": TIME} with a time in UTC such as '
    '"2026-11-27T15:00:00Z", or {"seconds": NUMBER} with a number from 0 to '
    f"{MAX_ADVANCE_SECONDS}."
)
_JOBS = (
    'The body must be {"url": "/PATH"}, or {"index": NUMBER} with 0 for the first job.'
)


def seconds_in(body: bytes, now: float) -> float | None:
    """Return how far a request advances the clock; None: to the next task.

    Raises:
        web.HTTPBadRequest: the body asks for neither, or for a time in the past or too
            far in the future.
    """
    wanted = _json_in(body, _ADVANCES)
    if wanted == {"to": "next_task"}:
        return None
    match wanted:
        case {"to": str() as text} if len(wanted) == 1:
            return _seconds_to(text, now)
        # The comparison excludes NaN too.
        case {"seconds": int() | float() as seconds} if (
            not isinstance(seconds, bool) and 0 <= seconds <= MAX_ADVANCE_SECONDS
        ):
            return seconds
    raise web.HTTPBadRequest(text=_ADVANCES)


def _seconds_to(text: str, now: float) -> float:
    """Return the seconds from `now` to a time; one without a zone is in UTC."""
    try:
        moment = datetime.datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        seconds = moment.timestamp() - now
    except (ValueError, OverflowError):
        raise web.HTTPBadRequest(text=f"'to' is {text!r}. {_ADVANCES}") from None
    if seconds < 0:
        raise web.HTTPBadRequest(
            text=f"{text} is in the past: the server's clock shows {iso(now)}, and it "
            "only goes forward. POST /reset sets it back to the real time."
        )
    if seconds > MAX_ADVANCE_SECONDS:
        raise web.HTTPBadRequest(
            text=f"{text} is too far away: the server's clock shows {iso(now)}, and "
            f"one advance can reach {iso(now + MAX_ADVANCE_SECONDS)}."
        )
    return seconds


def job_in(body: bytes, jobs: Sequence[Job]) -> Job:
    """Return the job that a request names by its URL or its place in cron.yaml.

    Raises:
        web.HTTPBadRequest: the body names none.
        web.HTTPConflict: several jobs have the URL.
        web.HTTPNotFound: there is no such job.
    """
    urls = [job.config.url for job in jobs]
    match _json_in(body, _JOBS):
        case {"url": str() as url} if urls.count(url) == 1:
            return jobs[urls.index(url)]
        case {"url": str() as url} if url in urls:
            places = [place for place, job_url in enumerate(urls) if job_url == url]
            raise web.HTTPConflict(
                text=f"{len(places)} jobs have the URL {url!r}. Name one by its "
                f'place instead: {{"index": {places[0]}}}.'
            )
        case {"url": str() as url}:
            if not urls:
                raise web.HTTPNotFound(text="The app has no cron.yaml with jobs.")
            known = ", ".join(urls)
            raise web.HTTPNotFound(
                text=f"cron.yaml has no job with the URL {url!r}, only: {known}."
            )
        case {"index": int() as index} if not isinstance(index, bool):
            if not 0 <= index < len(jobs):
                raise web.HTTPNotFound(
                    text=f"cron.yaml has {len(jobs)} jobs, so there is no job "
                    f"{index}; the first one is 0."
                )
            return jobs[index]
    raise web.HTTPBadRequest(text=_JOBS)


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
    fields = _json_in(body, expected)
    if not isinstance(fields, dict):
        raise web.HTTPBadRequest(text=expected)
    return fields


def _json_in(body: bytes, expected: str) -> Any:
    """Return what a body holds, or answer with what is expected."""
    try:
        return json.loads(body or b"null")
    except (ValueError, RecursionError) as error:
        raise web.HTTPBadRequest(
            text=f"The body is not valid JSON ({error}). {expected}"
        ) from None
