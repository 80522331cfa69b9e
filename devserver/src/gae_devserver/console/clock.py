"""The routes of the State API for the clock."""

from collections.abc import Hashable, Mapping

from aiohttp import web

from gae_devserver.clock import Clock
from gae_devserver.console import bodies
from gae_devserver.http.server import read_body
from gae_devserver.tasks.runner import TaskRunner


class ClockRoutes:
    """Shows the clock and advances it."""

    def __init__(self, clock: Clock, runner: TaskRunner) -> None:
        self._clock = clock
        self._runner = runner

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/clock", self._get_clock),
            web.post("/clock/advance", self._advance),
        ]

    def revisions(self) -> Mapping[str, Hashable]:
        """Return what changes when the clock does more than go on."""
        return {"clock": self._clock.offset}

    def _describe_clock(self) -> dict[str, float]:
        return {"now": self._clock.now(), "offset": self._clock.offset}

    async def _get_clock(self, request: web.Request) -> web.Response:
        return web.json_response(self._describe_clock())

    async def _advance(self, request: web.Request) -> web.Response:
        seconds = bodies.seconds_in(await read_body(request))
        if seconds is None:
            count = await self._runner.advance_to_next_task()
        else:
            count = await self._runner.advance(seconds)
        return web.json_response(self._describe_clock() | {"tasks_run": count})
