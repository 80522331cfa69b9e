"""Executes one task once: sends it, then deletes or postpones it."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from google.appengine.api.taskqueue import taskqueue_stub

from gae_devserver.activity import activity
from gae_devserver.activity.activity import Activity
from gae_devserver.activity.records import Attempt, Record
from gae_devserver.app.client import Request
from gae_devserver.app.supervisor import AppUnavailable
from gae_devserver.clock import Clock
from gae_devserver.http.routing import UnknownServiceError
from gae_devserver.tasks.attempts import begin_attempt, end_attempt, lose_answer
from gae_devserver.tasks.headers import task_request
from gae_devserver.tasks.queues import Queue
from gae_devserver.tasks.task_log import TaskLog
from gae_devserver.terminal import printable

logger = logging.getLogger("gae_devserver.task")

DEADLINE = 600.0
"""Seconds that a task may take: App Engine's limit with automatic scaling."""
NO_DEADLINE = 1e9
"""A number, as asyncio and aiohttp take no infinite time."""
_LONG_DEADLINE = 86400.0


MakeRequest = Callable[[Queue, Any, str, float], Request]
"""Makes the request of a task for a service. The server's clock is some seconds ahead.
"""

Dispatch = Callable[[Request, float], Awaitable[int]]
"""Sends a task within a deadline in seconds; returns the status of the answer."""


@dataclass(frozen=True)
class Run:
    """One execution of a task that has ended."""

    queue: Queue
    task: Any
    """A copy of the task (a QueryTasksResponse.Task) from before its execution."""
    service: str
    """The service that got it; "": an HTTP target got it, or the service is gone."""
    status: int
    """The status of the app's answer, or 0 if there was none."""


def deadline(scaling: str) -> float:
    """Return how many seconds App Engine gives to a task with this scaling."""
    return DEADLINE if scaling == "automatic" else _LONG_DEADLINE


class TaskExecutor:
    """Sends tasks; each task by one execution at a time."""

    def __init__(
        self,
        clock: Clock,
        dispatch: Dispatch,
        deadline_of: Callable[[str], float],
        make_request: MakeRequest = task_request,
        *,
        several_services: bool = False,
        records: Activity | None = None,
    ) -> None:
        """Take the functions that make and send a request.

        `deadline_of` returns how many seconds a service may take. With several
        services, the log names that of each task. `records` keeps each execution.
        """
        self._records = records or Activity(clock.now)
        self._clock = clock
        self._make_request = make_request
        self._dispatch = dispatch
        self._deadline_of = deadline_of
        self._several_services = several_services
        self._log = TaskLog(several_services=several_services)
        self.finished = 0
        """How many executions have ended since the start."""

    async def execute(self, queue: Queue, task: Any, service: str) -> Run:
        """Send a task; then delete it, or postpone it to its next attempt.

        Raises:
            AppUnavailable: the app does not run, so the task was not sent.
        """
        name = task.task_name.decode()
        sent = type(task).FromString(task.SerializeToString())
        number, eta = task.retry_count + 1, task.eta_usec / 1e6
        attempt = Attempt(queue.queue_name, name, number, eta, sent)
        method = task.RequestMethod.Name(task.method)
        url = task.url.decode(errors="replace")
        record = self._records.begin("task", method, url, service, attempt)
        activity.current.set(record)
        begin_attempt(task, self._clock.now())
        self._log.started(record, attempt)
        began = time.monotonic()
        status = 0
        try:
            status, outcome = await self._send(queue, task, service, record)
        except AppUnavailable:
            self._records.discard(record)
            self._log.not_sent(record, attempt)
            raise
        except asyncio.CancelledError:
            attempt.outcome, attempt.reason = "failed", "cancelled"
            raise
        finally:
            self._records.end(record, status)
        took = f"{(time.monotonic() - began) * 1000:.0f} ms"
        outcome += f" in {took}" if status else f" after {took}"
        self.finished += 1
        queue.count_finished(self._clock.now())
        if status:
            end_attempt(task, self._clock.now(), status)
        attempt.reason = outcome
        if queue.find(name) is not task:
            attempt.outcome = "deleted"
        elif 200 <= status < 300 and _gave_up(record):
            attempt.outcome = "dropped"
            queue.drop(name)
        elif 200 <= status < 300:
            attempt.outcome = "done"
            queue.Delete(name)
        else:
            self._retry(queue, task, attempt)
        self._log.ended(record, attempt)
        return Run(queue, sent, service, status)

    def _retry(self, queue: Queue, task: Any, attempt: Attempt) -> None:
        # stays if the time of the next attempt cannot be computed
        attempt.outcome = "failed"
        now_usec = int(self._clock.now() * 1e6)
        retry = taskqueue_stub.Retry(task, queue)
        if retry.CanRetry(attempt.number, now_usec - task.first_try_usec):
            backoff_usec = retry.CalculateBackoffUsec(attempt.number)
            queue.PostponeTask(task, max(now_usec + backoff_usec, task.eta_usec + 1))
            attempt.next_in = backoff_usec / 1e6
        else:
            attempt.outcome = "dropped"
            queue.drop(attempt.name)

    async def _send(
        self, queue: Queue, task: Any, service: str, record: Record
    ) -> tuple[int, str]:
        """Send the task; return the status (0: none) and the outcome for the log."""
        # the server's deadline is that of the app, not of HTTP targets
        deadline = self._deadline_of(service) if service else math.inf
        if task.HasField("dispatch_deadline_usec"):
            deadline = min(deadline, task.dispatch_deadline_usec / 1e6)
        try:
            if not (service and self._several_services):
                # fails if it is for a service that does not run
                queue.required_service(task)
            request = self._make_request(queue, task, service, self._clock.offset)
            record.method, record.target = request.method, request.target
            status = await self._dispatch(request, deadline)
        except AppUnavailable:
            raise
        except TimeoutError:
            lose_answer(task, late=True)
            return 0, f"exceeded its deadline of {deadline:g} s"
        except (ConnectionError, UnknownServiceError) as error:
            lose_answer(task, late=False)
            # it can name a host, or have a part of the answer
            return 0, f"failed ({printable(str(error))})"
        except Exception:
            # this counts as an attempt, or the task would be sent again at once
            logger.exception("task %s: the dev server failed", task.task_name.decode())
            lose_answer(task, late=False)
            return 0, "failed in the dev server"
        return status, str(status)


def _gave_up(record: Record) -> bool:
    """Return whether the SDK has answered 200 to a task that fails for good."""
    return record.failure is not None and record.failure.is_permanent
