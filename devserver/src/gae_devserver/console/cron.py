"""The routes of the State API for the jobs of cron.yaml."""

from aiohttp import web

from gae_devserver.clock import Clock
from gae_devserver.console import as_json, bodies
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

    async def _get_cron(self, request: web.Request) -> web.Response:
        jobs = [
            as_json.describe_job(self._cron, job, self._clock)
            for job in self._cron.jobs
        ]
        return web.json_response({"scheduled": self._cron.scheduled, "jobs": jobs})

    async def _run_cron(self, request: web.Request) -> web.Response:
        job = bodies.job_in(await read_body(request), self._cron.jobs)
        try:
            status = await self._cron.run_now(job)
        except JobRefusedError as error:
            text = f"The job {job.config.url} {error}."
            raise web.HTTPConflict(text=text) from None
        return web.json_response({"status": status})
