"""Resets everything that the services keep, and the route of the State API for it."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection

from aiohttp import web

from gae_devserver.clock import Clock
from gae_devserver.cron.jobs import CronJobs
from gae_devserver.http.running_requests import RunningRequests
from gae_devserver.memory import return_to_system
from gae_devserver.services.services import Services
from gae_devserver.tasks.runner import TaskRunner
from gae_devserver.terminal import printable

logger = logging.getLogger("gae_devserver")

_SHOWN_URLS = 3
_LAST_SECONDS = 1.0
_TRIM_SECONDS = 0.1


class Reset:
    """Clears what the services keep, and sets the clock to the real time.

    No request from before goes on afterwards, or it could write then. So no task
    starts, and running requests get some time to end. If they take longer, the app gets
    a new process: a call over gRPC does not say which request makes it.
    """

    def __init__(
        self,
        services: Services,
        runner: TaskRunner,
        cron: CronJobs,
        clock: Clock,
        requests: RunningRequests,
        restart_services: Callable[[Collection[str]], Awaitable[object]],
        *,
        several: bool = False,
        quiet_seconds: float = 5.0,
    ) -> None:
        """Make it; it waits `quiet_seconds` for the requests that run.

        `restart_services` starts a new process of each of these services, and returns
        when every older one is gone. With `several`, messages name them.
        """
        self._services = services
        self._runner = runner
        self._cron = cron
        self._clock = clock
        self._requests = requests
        self._restart_services = restart_services
        self._several = several
        self._quiet_seconds = quiet_seconds
        self._one_at_a_time = asyncio.Lock()

    def routes(self) -> list[web.RouteDef]:
        """Return the route."""
        return [web.post("/reset", self._reset)]

    async def _reset(self, request: web.Request) -> web.Response:
        async with self._one_at_a_time:
            self._runner.hold()
            try:
                self._cron.clear()
                with contextlib.ExitStack() as stack:
                    if not await self._becomes_idle():
                        stack.enter_context(self._requests.closed())
                        await self._end_requests()
                    # nothing runs at this moment, and nothing can start before the end
                    self._services.clear()
                    self._clock.reset()
                    self._requests.activity.clear()
                    self._cron.restart()
            finally:
                self._runner.reset()
        # after the answer: tests reset before each of them
        asyncio.get_running_loop().call_later(_TRIM_SECONDS, return_to_system)
        return web.json_response({})

    async def _becomes_idle(self) -> bool:
        """Wait until no request and no task runs; return False if some go on."""
        try:
            async with asyncio.timeout(self._quiet_seconds):
                while self._requests or self._runner.is_busy:
                    await self._requests.idle()
                    await self._runner.idle()
        except TimeoutError:
            return False
        return True

    async def _end_requests(self) -> None:
        if urls := self._requests.urls():
            shown = ", ".join(map(printable, urls[:_SHOWN_URLS]))
            services = self._requests.services()
            what, of = "the app restarts", "its"
            if self._several:
                names = ", ".join(sorted(services))
                what, of = f"services restart ({names})", "their"
            logger.warning(
                "%s: %d of %s requests still run %g s after a reset was asked for: "
                "%s%s",
                what,
                len(urls),
                of,
                self._quiet_seconds,
                shown,
                ", ..." if len(urls) > _SHOWN_URLS else "",
            )
            # first, as the new process may get a request to start
            self._requests.end_all()
            await self._restart_services(services)
        # those with an HTTP target, which the server cannot end
        await self._runner.quiet(_LAST_SECONDS)
