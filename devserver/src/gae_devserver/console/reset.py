"""The route of the State API that resets everything."""

import asyncio

from aiohttp import web

from gae_devserver.clock import Clock
from gae_devserver.cron.jobs import CronJobs
from gae_devserver.memory import return_to_system
from gae_devserver.services.services import Services
from gae_devserver.tasks.runner import TaskRunner

_TRIM_SECONDS = 0.1


class ResetRoute:
    """Clears what the services keep, and sets the clock to the real time."""

    def __init__(
        self,
        services: Services,
        runner: TaskRunner,
        cron: CronJobs,
        clock: Clock,
        quiet_seconds: float,
    ) -> None:
        """Make the route; a reset waits `quiet_seconds` for the tasks that run."""
        self._services = services
        self._runner = runner
        self._cron = cron
        self._clock = clock
        self._quiet_seconds = quiet_seconds

    def routes(self) -> list[web.RouteDef]:
        """Return the route."""
        return [web.post("/reset", self._reset)]

    async def _reset(self, request: web.Request) -> web.Response:
        # Cleared queues start no new tasks. Running tasks must end before the rest is
        # cleared, or they would write after the reset.
        self._services.taskqueue.clear()
        self._cron.clear()
        await self._runner.quiet(self._quiet_seconds)
        self._services.clear()
        self._clock.reset()
        self._cron.restart()
        # after the answer: tests reset before each of them
        asyncio.get_running_loop().call_later(_TRIM_SECONDS, return_to_system)
        self._runner.reset()
        return web.json_response({})
