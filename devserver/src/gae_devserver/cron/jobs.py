"""Runs the jobs of cron.yaml, each as a task of a queue that the app does not see."""

import asyncio
import dataclasses
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from google.appengine.api import queueinfo
from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as pb

from gae_devserver.clock import Clock
from gae_devserver.config.application import Application
from gae_devserver.config.cron_yaml import CronJob
from gae_devserver.http.routing import Routing, UnknownServiceError
from gae_devserver.tasks.changes import Changes
from gae_devserver.tasks.execution import Run
from gae_devserver.tasks.queues import CRON_QUEUE, Queue
from gae_devserver.tasks.runner import Apps


class JobRefusedError(Exception):
    """A job cannot run now; the message says why."""


@dataclasses.dataclass(frozen=True)
class LastRun:
    """The last attempt to run a job that has ended."""

    ended: float
    """When, by the server's clock."""
    status: int
    """The status of the app's answer, or 0 if there was none."""


class Job:
    """One job, and what has become of it."""

    def __init__(self, config: CronJob) -> None:
        self.config = config
        self.last_run: LastRun | None = None
        self.task_name: str | None = None
        """The task that waits or runs; None: there is none."""
        self.waiters: list[asyncio.Future[int | None]] = []
        """Get the status when an attempt has ended; None: the job is gone."""


class CronJobs:
    """The jobs of one app. With `scheduled`, they run by the server's clock.

    A job has one task at a time: its retries and its next run wait until it has ended.
    So a run is skipped if the one before takes too long, as on App Engine.
    """

    def __init__(
        self,
        jobs: Sequence[CronJob],
        clock: Clock,
        changed: Changes[Queue],
        routing: Routing,
        apps: Apps,
        *,
        scheduled: bool,
    ) -> None:
        """Make the queue, whose changes are noted in `changed`.

        `routing` finds the service of a job without a target.
        """
        self.queue = Queue(
            CRON_QUEUE,
            gettime=clock.now,
            storage=None,
            changed=changed,
            service_of=lambda target, task: self._service_of(task),
            only_service=routing.only_service,
        )
        self.scheduled = scheduled
        self._clock = clock
        self._routing = routing
        self._apps = apps
        self.jobs: list[Job] = []
        """In the order of cron.yaml."""
        self._by_task: dict[str, Job] = {}
        self._update(jobs)

    def apply(self, application: Application) -> None:
        """Use a changed cron.yaml; a job that stays keeps its next run."""
        self._update(application.cron_jobs)
        # dispatch.yaml may have changed too
        self.queue.route_again()

    def _update(self, configs: Sequence[CronJob]) -> None:
        old, self.jobs = self.jobs, []
        for config in configs:
            job = next((job for job in old if job.config == config), None)
            if job is None:
                job = Job(config)
            else:
                old.remove(job)
            self.jobs.append(job)
        for gone in old:
            if (name := gone.task_name) is not None:
                self.queue.Delete(name)
                self._forget(name)
                _tell(gone, None)
        for job in self.jobs:
            self._schedule(job)

    def next_run(self, job: Job) -> float | None:
        """Return when a job runs next by the server's clock; None: never here.

        If jobs are not scheduled, this is when it would run.
        """
        if job.task_name is not None:
            return self.queue.find(job.task_name).eta_usec / 1e6
        if self.service(job) is None:
            return None
        return job.config.schedule.next_after(self._clock.now())

    def next_runs(self, job: Job, count: int) -> list[float]:
        """Return the next runs, as they are if each ends at once."""
        runs: list[float] = []
        moment = self.next_run(job)
        while moment is not None and len(runs) < count:
            runs.append(moment)
            moment = job.config.schedule.next_after(moment)
        return runs

    def service(self, job: Job) -> str | None:
        """Return the service that gets a job's requests; None: it does not run here."""
        if job.config.is_elsewhere:
            return None
        try:
            return self._required_service(job.config)
        except UnknownServiceError:
            return None

    def _required_service(self, config: CronJob) -> str:
        if config.target:
            return self._routing.named(config.target)
        return self._routing.for_request("", config.url)

    def _service_of(self, task: Any) -> str:
        # dispatch.yaml may have changed since the job was scheduled
        job = self._by_task.get(task.task_name.decode())
        return self._required_service(job.config) if job else ""

    def is_running(self, job: Job) -> bool:
        """Return whether the app is answering the job's request."""
        return job.task_name in self.queue.running

    async def run_now(self, job: Job) -> int:
        """Run a job; return the status of the answer to this attempt, or 0.

        Raises:
            JobRefusedError: the job runs already, belongs to another service, or is
                gone before it has ended.
            AppUnavailable: the app does not run.
        """
        if (service := self.service(job)) is not None:
            await self._apps.process(service)
        if job not in self.jobs:
            raise JobRefusedError("is no longer in cron.yaml")
        if self.service(job) is None:
            file = "its 'target'" if job.config.target else "dispatch.yaml"
            raise JobRefusedError(f"belongs to another service. Change {file}")
        if self.is_running(job):
            raise JobRefusedError("runs already. Wait for its end")
        if job.task_name is None:
            self._add_task(job, self._clock.now())
        else:
            self.queue.RunTaskNow(self.queue.find(job.task_name))
        waiter = asyncio.get_running_loop().create_future()
        job.waiters.append(waiter)
        status: int | None = await waiter
        if status is None:
            raise JobRefusedError(
                "was stopped: cron.yaml changed, or the server's state was reset"
            )
        return status

    def ended(self, run: Run) -> bool:
        """Take note of an execution, if it is one of a job, and schedule the next.

        Returns:
            Whether it was `run_now` that asked for the execution.
        """
        name = run.task.task_name.decode()
        if run.queue is not self.queue or name not in self._by_task:
            return False
        job = self._by_task[name]
        job.last_run = LastRun(self._clock.now(), run.status)
        was_asked_for = _tell(job, run.status)
        if self.queue.find(name) is None:
            self._forget(name)
            self._schedule(job)
        return was_asked_for

    def clear(self) -> None:
        """Forget every run; the jobs wait for `restart`."""
        self.queue.clear()
        self._by_task.clear()
        for job in self.jobs:
            job.task_name = job.last_run = None
            _tell(job, None)

    def _forget(self, name: str) -> None:
        self._by_task.pop(name).task_name = None

    def restart(self) -> None:
        """Schedule the jobs anew, after a reset of the clock."""
        for job in self.jobs:
            self._schedule(job)

    def _schedule(self, job: Job) -> None:
        if not self.scheduled or job.task_name is not None:
            return
        if (moment := self.next_run(job)) is not None:
            self._add_task(job, moment)

    def _add_task(self, job: Job, moment: float) -> None:
        config = job.config
        name = secrets.token_hex(16)
        add = pb.TaskQueueAddRequest(
            queue_name=CRON_QUEUE.encode(),
            task_name=name.encode(),
            eta_usec=round(moment * 1e6),
            method=pb.TaskQueueAddRequest.GET,
            url=config.url.encode(),
            retry_parameters=queueinfo.TranslateRetryParameters(
                config.retry_parameters
            ),
        )
        if config.attempt_deadline is not None:
            add.dispatch_deadline_usec = round(config.attempt_deadline * 1e6)
        job.task_name = name
        self._by_task[name] = job
        self.queue.Add(add, datetime.fromtimestamp(self._clock.now(), UTC))


def _tell(job: Job, status: int | None) -> bool:
    """Return whether somebody waited for the status."""
    waiting = [waiter for waiter in job.waiters if not waiter.done()]
    job.waiters.clear()
    for waiter in waiting:
        waiter.set_result(status)
    return bool(waiting)
