"""Sends tasks to the app, and replaces its process if it does not end them."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from aiohttp import hdrs
from multidict import CIMultiDict

from gae_devserver.app.client import Request
from gae_devserver.app.process import AppProcess
from gae_devserver.app.supervisor import Supervisor
from gae_devserver.http.app_sender import AppSender
from gae_devserver.terminal import printable

logger = logging.getLogger("gae_devserver.task")

_TASK_IP = "0.1.0.2"  # by this address, the SDK recognizes the task queue

MAX_OVERDUE = 8
"""Half the threads that the app has without an entrypoint."""


class TaskSender:
    """Sends tasks, each within a deadline.

    App Engine ends the process of a request that exceeds its deadline. Without that,
    each such task would hold a thread of the app, until none is left.
    """

    def __init__(
        self,
        app: Supervisor,
        sender: AppSender,
        *,
        deadline: float,
        refusal: Callable[[str], int | None] = lambda target: None,
        max_overdue: int = MAX_OVERDUE,
        name: str = "app",
    ) -> None:
        """Replace a process in which a request runs for `deadline` seconds.

        A task may have an earlier deadline, after which the app can go on with it. But
        the process is replaced when it goes on with `max_overdue` of them. `refusal`
        returns the status that a task for a path gets in place of the app's, or None.
        Messages call the app `name`.
        """
        self._app = app
        self._sender = sender
        self._deadline = deadline
        self._refusal = refusal
        self._max_overdue = max_overdue
        self._name = name
        self._overdue: dict[asyncio.Task[int], AppProcess] = {}

    async def send(self, task: Request, deadline: float) -> int:
        """Send a task, as App Engine does; return the status of the answer.

        Raises:
            AppUnavailable: the app is not running; nothing was sent.
            ConnectionError: the connection broke.
            TimeoutError: there was no answer within `deadline` seconds.
        """
        if refused := self._refusal(task.target):
            return refused
        # a copy: each delivery has a ticket of its own
        headers = CIMultiDict(task.headers)
        headers[hdrs.CONTENT_LENGTH] = str(len(task.body or b""))
        request = Request(task.method, task.target, headers, task.body)
        process = self._app.ready_process()
        sending = self._send(request, process)
        if deadline >= self._deadline:
            return await sending
        return await self._within(deadline, sending, process)

    async def _send(self, request: Request, process: AppProcess) -> int:
        try:
            return await self._sender.status_of(
                self._ready_process, request, ip=_TASK_IP, deadline=self._deadline
            )
        except TimeoutError:
            name = request.headers.get("X-AppEngine-TaskName", "")
            self._replace(
                process,
                f"task {printable(name)} ({printable(request.target)}) still ran after "
                f"{self._deadline:g} s, and would hold a thread. --task-deadline "
                "changes the limit",
            )
            raise

    async def _ready_process(self) -> AppProcess:
        # a task that waited here could no longer be paused or deleted
        return self._app.ready_process()

    async def _within(
        self, deadline: float, sending: Coroutine[Any, Any, int], process: AppProcess
    ) -> int:
        """Wait for a task until its own deadline, which does not end its request."""
        work = asyncio.create_task(sending)
        try:
            done, _ = await asyncio.wait({work}, timeout=deadline)
        except asyncio.CancelledError:
            work.cancel()
            raise
        if done:
            return work.result()
        self._overdue[work] = process
        work.add_done_callback(self._ended)
        overdue = list(self._overdue.values()).count(process)
        if overdue >= self._max_overdue:
            self._replace(
                process,
                f"{overdue} tasks still run after the deadlines of their own, and hold "
                "threads",
            )
        raise TimeoutError

    def _ended(self, work: asyncio.Task[int]) -> None:
        del self._overdue[work]
        if not work.cancelled():
            work.exception()  # otherwise asyncio logs it

    def _replace(self, process: AppProcess, why: str) -> None:
        if self._app.replace(process):
            text = "the %s restarts, as on App Engine: %s"
            logger.warning(text, self._name, why)
