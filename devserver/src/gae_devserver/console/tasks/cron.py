"""The routes of the State API for the jobs of cron.yaml, and the page on them."""

from collections.abc import Hashable, Mapping

from aiohttp import web

from gae_devserver.clock import Clock
from gae_devserver.console.frame import bodies
from gae_devserver.console.frame.answers import show
from gae_devserver.console.frame.turns import in_turns
from gae_devserver.console.tasks import as_json
from gae_devserver.cron.jobs import CronJobs, JobRefusedError
from gae_devserver.http.server import read_body


class CronRoutes:
    """Shows the jobs and runs them."""

    def __init__(self, cron: CronJobs, clock: Clock) -> None:
        self._cron = cron
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/cron", self._get_cron),
            web.post("/cron/run", self._run_cron),
        ]

    def revisions(self) -> Mapping[str, Hashable]:
        """Return what changes when a job is scheduled, begins or ends."""
        jobs = self._cron.jobs
        state = [
            (id(job), job.task_name, self._cron.is_running(job), job.last_run)
            for job in jobs
        ]
        return {"cron": (tuple(state), self._cron.queue.revision)}

    async def _get_cron(self, request: web.Request) -> web.StreamResponse:
        jobs = [
            as_json.describe_job(self._cron, job, self._clock)
            async for job in in_turns([*self._cron.jobs])
        ]
        data = {"scheduled": self._cron.scheduled, "jobs": jobs}
        return show(request, data, "cron.html")

    async def _run_cron(self, request: web.Request) -> web.Response:
        job = bodies.job_in(await read_body(request), self._cron.jobs)
        try:
            status = await self._cron.run_now(job)
        except JobRefusedError as error:
            text = f"The job {job.config.url} {error}."
            raise web.HTTPConflict(text=text) from None
        return web.json_response({"status": status})
