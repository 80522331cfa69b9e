"""The routes of the State API for the clock."""

import datetime
from collections.abc import Hashable, Mapping
from typing import Any

from aiohttp import web

from gae_devserver.activity.activity import Activity
from gae_devserver.clock import MAX_ADVANCE_SECONDS, Clock
from gae_devserver.console.frame import bodies
from gae_devserver.console.frame.formats import iso
from gae_devserver.http.server import read_body
from gae_devserver.tasks.runner import TaskRunner

_MAX_FAILED = 20
_ADVANCES = (
    'The body must be {"to": "next_task"}, {"to": TIME} with a time in UTC such as '
    '"2026-11-27T15:00:00Z", or {"seconds": NUMBER} with a number from 0 to '
    f"{MAX_ADVANCE_SECONDS}."
)


class ClockRoutes:
    """Shows the clock and advances it."""

    def __init__(self, clock: Clock, runner: TaskRunner, activity: Activity) -> None:
        self._clock = clock
        self._runner = runner
        self._activity = activity
        self._advances = 0
        self.last_advance: dict[str, Any] | None = None
        """The answer to the last advance."""

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/clock", self._get_clock),
            web.post("/clock/advance", self._advance),
        ]

    def revisions(self) -> Mapping[str, Hashable]:
        """Return what changes when the clock does more than go on."""
        return {"clock": (self._clock.offset, self._advances)}

    def _describe_clock(self) -> dict[str, float]:
        return {"now": self._clock.now(), "offset": self._clock.offset}

    async def _get_clock(self, request: web.Request) -> web.Response:
        return web.json_response(self._describe_clock())

    async def _advance(self, request: web.Request) -> web.Response:
        seconds = _seconds_in(await read_body(request), self._clock.now())
        began = self._activity.last_number
        if seconds is None:
            count = await self._runner.advance_to_next_task()
        else:
            count = await self._runner.advance(seconds)
        failed = self._failed_since(began)
        self._advances += 1
        self.last_advance = {
            **self._describe_clock(),
            "tasks_run": count,
            "failed": failed[:_MAX_FAILED],
            "failed_omitted": max(0, len(failed) - _MAX_FAILED),
        }
        return web.json_response(self.last_advance)

    def _failed_since(self, number: int) -> list[dict[str, Any]]:
        """Return the last attempts of tasks that have failed after a record."""
        failed: dict[tuple[str, str], dict[str, Any]] = {}
        for record in self._activity.attempts:
            attempt = record.attempt
            if record.number > number and attempt is not None:
                name = attempt.queue, attempt.name
                failed.pop(name, None)
                if attempt.outcome in ("failed", "dropped"):
                    failed[name] = {
                        "number": record.number,
                        "queue": attempt.queue,
                        "name": attempt.name,
                        "outcome": attempt.outcome,
                        "reason": attempt.reason,
                    }
        return list(failed.values())


def _seconds_in(body: bytes, now: float) -> float | None:
    """Return how far a request advances the clock; None: to the next task.

    Raises:
        web.HTTPBadRequest: the body asks for neither, or for a time in the past or too
            far in the future.
    """
    wanted = bodies.json_in(body, _ADVANCES)
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
