"""The routes of the State API for the jobs of cron.yaml, and the page on them."""

from collections.abc import Hashable, Mapping, Sequence

from aiohttp import web

from gae_devserver.clock import Clock
from gae_devserver.console.frame import bodies
from gae_devserver.console.frame.answers import show
from gae_devserver.console.frame.turns import in_turns
from gae_devserver.console.tasks import as_json
from gae_devserver.cron.jobs import CronJobs, Job, JobRefusedError
from gae_devserver.http.server import read_body

_JOBS = (
    'The body must be {"url": "/PATH"}, or {"index": NUMBER} with 0 for the first job.'
)


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
        job = _job_in(await read_body(request), self._cron.jobs)
        try:
            status = await self._cron.run_now(job)
        except JobRefusedError as error:
            text = f"The job {job.config.url} {error}."
            raise web.HTTPConflict(text=text) from None
        return web.json_response({"status": status})


def _job_in(body: bytes, jobs: Sequence[Job]) -> Job:
    """Return the job that a request names by its URL or its place in cron.yaml.

    Raises:
        web.HTTPBadRequest: the body names none.
        web.HTTPConflict: several jobs have the URL.
        web.HTTPNotFound: there is no such job.
    """
    urls = [job.config.url for job in jobs]
    match bodies.json_in(body, _JOBS):
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
