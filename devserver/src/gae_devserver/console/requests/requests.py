"""The routes of the console for requests: the list of the last ones, and each of them.

The page of a request is also that of an attempt of a task.
"""

import dataclasses
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

from aiohttp import web

from gae_devserver.activity.activity import Activity
from gae_devserver.activity.records import Failure, Record
from gae_devserver.console.frame import bodies
from gae_devserver.console.frame.answers import show, wants_html
from gae_devserver.console.requests.api_calls import (
    describe_calls,
    repeated,
    sums,
    waterfall,
)
from gae_devserver.console.tasks.attempt_json import describe_line

_PAGE = 100
_STATUSES = ("2xx", "3xx", "4xx", "5xx", "none")
# the app's ticket would allow API calls
_NEVER_SHOWN = frozenset({"x-appengine-api-ticket", "x-devserver-token"})
_HIDDEN = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})
_STILL_SECONDS = 5.0
"""So long after its end, a request may still get log lines and calls."""

UrlOf = Callable[[str], str]
"""Returns the URL of a service without a path; "" is the main service."""


class RequestRoutes:
    """Shows requests with their API calls, log lines and exceptions."""

    def __init__(self, activity: Activity, url_of: UrlOf) -> None:
        self._activity = activity
        self._url_of = url_of

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/requests", self._list),
            web.get("/requests/last_failure", self._show_last_failure),
            web.get("/requests/{number:[0-9]{1,12}}", self._show),
        ]

    def revisions(self) -> Mapping[str, Hashable]:
        """Return what changes with each request."""
        return {"requests": self._activity.revision}

    async def _list(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        limit = bodies.limit_in(query, _PAGE)
        (before,) = bodies.cursor_in(query, "0")
        status = query.get("status", "")
        if status not in {"", *_STATUSES}:
            choices = ", ".join(_STATUSES)
            text = f"status is {status!r}, but it must be one of {choices}."
            raise web.HTTPBadRequest(text=text)
        path, service = query.get("path", "").lower(), query.get("service", "")
        page: list[Record] = []
        cursor = None
        for record in reversed(self._activity.requests):
            if (
                (before and record.number >= before)
                or (service and record.service != service)
                or (status and _status_class(record) != status)
                or (path and path not in record.target.lower())
            ):
                continue
            if len(page) == limit:
                cursor = str(page[-1].number)
                break
            page.append(record)
        data: dict[str, Any] = {
            "requests": [_describe(record) for record in page],
            "cursor": cursor,
        }
        if wants_html(request):
            names = {record.service for record in self._activity.requests}
            data |= {"services": sorted(names - {""}), "statuses": _STATUSES}
        return show(request, data, "requests.html")

    async def _show(self, request: web.Request) -> web.StreamResponse:
        number = int(request.match_info["number"])
        record = self._activity.find(number)
        if record is None:
            raise web.HTTPNotFound(
                text=f"There is no request {number}. The server keeps the last ones "
                "until it ends or is reset."
            )
        data = {
            **_describe(record),
            "api_calls": describe_calls(record.calls),
            "omitted_calls": record.omitted_calls,
            "apis": sums(record.calls),
            "repeated": repeated(record.calls),
            "added_tasks": [dataclasses.asdict(task) for task in record.tasks],
            "omitted_tasks": record.omitted_tasks,
            "lines": [describe_line(record, line) for line in record.lines],
            "omitted_lines": record.omitted_lines,
            "failure": _describe_failure(record.failure),
            "headers": [list(header) for header in _headers(record)],
            "task": _describe_task(record),
            "send_again": self._send_again(record),
        }
        if wants_html(request):
            age = time.perf_counter() - record.started
            took = age if record.seconds is None else record.seconds
            data |= {
                "waterfall": waterfall(record.calls, took),
                "may_change": record.seconds is None or age - took < _STILL_SECONDS,
            }
        return show(request, data, "request.html")

    async def _show_last_failure(self, request: web.Request) -> web.StreamResponse:
        activity = self._activity
        failed = [
            record
            for records in (activity.requests, activity.attempts)
            for record in records
            if record.failure is not None
        ]
        # an attempt and a request at the same time: the one that began last
        record = max(failed, key=lambda record: record.number, default=None)
        if wants_html(request):
            raise web.HTTPFound("/requests" if record is None else _path(record))
        data = {
            "failure": _describe_failure(None if record is None else record.failure),
            "request": None if record is None else _describe(record),
            "task": None if record is None else _describe_task(record),
        }
        return web.json_response(data)

    def _send_again(self, record: Record) -> str | None:
        """Return the URL that a browser can get again; None: there is none."""
        if record.kind != "request" or record.method not in {"GET", "HEAD"}:
            return None
        # a client may send any text as its target
        if not record.target.startswith("/"):
            return None
        return self._url_of(record.service) + record.target


def _path(record: Record) -> str:
    return f"/requests/{record.number}"


def _status_class(record: Record) -> str:
    return f"{record.status // 100}xx" if record.status else "none"


def _describe(record: Record) -> dict[str, Any]:
    failure = record.failure
    return {
        "number": record.number,
        "kind": record.kind,
        "method": record.method,
        "target": record.target,
        "service": record.service,
        "began": record.began,
        "clock": record.clock,
        "status": record.status,
        "seconds": record.seconds,
        "calls": len(record.calls) + record.omitted_calls,
        "calls_seconds": sum(call.seconds for call in record.calls),
        "exception": None if failure is None else failure.type,
    }


def _describe_failure(failure: Failure | None) -> dict[str, Any] | None:
    return None if failure is None else dataclasses.asdict(failure)


def _describe_task(record: Record) -> dict[str, Any] | None:
    attempt = record.attempt
    if attempt is None:
        return None
    return {
        "queue": attempt.queue,
        "name": attempt.name,
        "attempt": attempt.number,
        "outcome": attempt.outcome,
        "reason": attempt.reason,
        "next_in": attempt.next_in,
    }


def _headers(record: Record) -> Iterator[tuple[str, str]]:
    """Yield the headers of a client or a task, but hide those that give access."""
    headers = record.headers
    if record.attempt is not None and record.attempt.task is not None:
        headers = [(item.key, item.value) for item in record.attempt.task.header]
    for raw_name, raw_value in headers:
        name = raw_name.decode(errors="replace")
        if name.lower() in _HIDDEN:
            yield name, "(hidden)"
        elif name.lower() not in _NEVER_SHOWN:
            yield name, raw_value.decode(errors="replace")
