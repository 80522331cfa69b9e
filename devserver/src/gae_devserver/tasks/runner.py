"""Runs the tasks of the queues, by the clock or by an advance of it."""

import asyncio
import collections
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from gae_devserver.app.supervisor import AppUnavailable
from gae_devserver.clock import Clock
from gae_devserver.storage.storage import StorageError
from gae_devserver.tasks.attempts import is_for_app
from gae_devserver.tasks.execution import (
    DEADLINE,
    Dispatch,
    MakeRequest,
    Run,
    TaskExecutor,
)
from gae_devserver.tasks.headers import task_request
from gae_devserver.tasks.queues import Queue
from gae_devserver.tasks.run_limit import MAX_RUNS, RunLimit
from gae_devserver.tasks.schedule import MAX_RUNNING, Schedule
from gae_devserver.tasks.stub import TaskQueue

logger = logging.getLogger("gae_devserver.task")

Ready = Callable[[], Awaitable[object]]
"""Waits while the app starts; raises AppUnavailable if it has died."""


class TaskRunner:
    """Runs the push queues of one app."""

    def __init__(
        self,
        taskqueue: TaskQueue,
        clock: Clock,
        dispatch: Dispatch,
        ready: Ready,
        *,
        deadline: float = DEADLINE,
        max_running: int = MAX_RUNNING,
        app_retry_seconds: float = 0.25,
        make_request: MakeRequest = task_request,
        other_queues: Collection[Queue] = (),
        on_run: Callable[[Run], bool] = lambda run: False,
        max_runs: int = MAX_RUNS,
    ) -> None:
        """Prepare to run tasks, at most `max_running` at once over all queues.

        As many tasks with an HTTP target may run beside those for the app.

        A task may take `deadline` seconds. While the app does not run, `ready` is asked
        again every `app_retry_seconds`. `make_request` makes the request of a task.
        `other_queues` are hidden from the app. `on_run` is called after each execution,
        and says whether `run_next` is to leave it out. `max_runs` limits an advance;
        see `RunLimit`.
        """
        self._taskqueue = taskqueue
        self._clock = clock
        self._ready = ready
        self._max_runs = max_runs
        self._executor = TaskExecutor(clock, dispatch, deadline, make_request)
        self._schedule = Schedule(taskqueue, other_queues, max_running)
        self._other_queues = other_queues
        self._app_retry_seconds = app_retry_seconds
        self._on_run = on_run
        self._running: dict[asyncio.Task[None], bool] = {}
        """The executions, and whether each is one for the app."""
        # for run_next; without a limit, it would grow if that is never called
        self._unreported: collections.deque[Run] = collections.deque(maxlen=100)
        self._advancing = asyncio.Lock()
        self._resets = 0
        self._free = asyncio.Event()
        self._free.set()
        self._last_run: Run | None = None
        self._loop_task: asyncio.Task[None] | None = None

    @property
    def finished(self) -> int:
        """How many executions have ended since the start."""
        return self._executor.finished

    def start(self) -> None:
        """Begin to run tasks."""
        self._loop_task = asyncio.create_task(self._run_forever())

    async def stop(self) -> None:
        """Stop, and cancel the tasks that run."""
        loop_tasks = [] if self._loop_task is None else [self._loop_task]
        await _cancel([*self._running, *loop_tasks])

    @property
    def is_busy(self) -> bool:
        """Whether a task runs."""
        return bool(self._running)

    async def idle(self) -> None:
        """Wait until no task runs."""
        while self._running:
            await asyncio.wait(self._running)

    async def quiet(self, seconds: float) -> None:
        """Wait until no task runs; cancel those that run for more than `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.idle()
        if self._running:
            # they would hold up others, and what they write would outlive a reset
            logger.warning(
                "no longer waiting for %d tasks, which did not end within %g s",
                len(self._running),
                seconds,
            )
            await _cancel([*self._running])

    def hold(self) -> None:
        """Start no task before `reset`."""
        self._free.clear()

    def reset(self) -> None:
        """End an advance that is under way: the clock was reset."""
        self._resets += 1
        self._unreported.clear()
        self._free.set()
        self.wake()

    def wake(self) -> None:
        """Look again: the clock moved, or a queue was paused or resumed."""
        self._taskqueue.changed.wake()

    async def _run_forever(self) -> None:
        while True:
            try:
                following = await self._start()
            except AppUnavailable:
                await asyncio.sleep(self._app_retry_seconds)
                continue
            now = self._clock.now()
            timeout = None if following is None else max(0.0, following - now)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._taskqueue.changed.wait()

    async def _start(self) -> float | None:
        """Start what may start now, if the app runs; return when to look again.

        Raises:
            AppUnavailable: the app does not run.
        """
        due = self.next_due()
        if due is not None and due <= self._clock.now():
            # wait before a task is chosen: meanwhile it can be held or deleted
            await self._ready()
        await self._not_held()
        return self._start_due(self._clock.now())

    async def _not_held(self) -> None:
        while not self._free.is_set():
            await self._free.wait()

    def _start_due(self, now: float) -> float | None:
        """Start what may start now; return when to look again, unless woken before."""
        while True:
            chosen, moment = self._schedule.choose(now, list(self._running.values()))
            if chosen is None:
                return moment
            self._launch(*chosen)

    def _launch(self, queue: Queue, task: Any) -> None:
        queue.begin(task.task_name.decode())
        run = asyncio.create_task(self._run(queue, task))
        self._running[run] = is_for_app(task)
        run.add_done_callback(self._ended)

    async def run_now(self, queue: Queue, name: str) -> Any:
        """Start a task, even if it is due later or its queue is held or busy.

        Returns:
            The task (a QueryTasksResponse.Task), which may have been running already;
            None: there is no such task.

        Raises:
            AppUnavailable: the app does not run, so the task was not started.
        """
        await self._ready()
        await self._not_held()
        # meanwhile it may have been deleted
        task = queue.find(name)
        if task is not None and name not in queue.running:
            queue.RunTaskNow(task)
            self._launch(queue, task)
            await asyncio.sleep(0)  # so that it notes when it was sent
        return task

    def _ended(self, run: asyncio.Task[None]) -> None:
        del self._running[run]
        self.wake()

    async def _run(self, queue: Queue, task: Any) -> None:
        """Execute one task once; log every error, so that the runner continues."""
        name, resets = task.task_name.decode(), self._resets
        try:
            if queue.find(name) is not task:
                return  # it was deleted before it started
            run = self._last_run = await self._executor.execute(queue, task)
            if resets == self._resets and not self._on_run(run):
                self._unreported.append(run)
        except AppUnavailable:
            # the task waits again, and this does not count as an attempt
            logger.info("task %s was not sent: the app is not running", name)
        except Exception:
            logger.exception(
                "task %s: the dev server failed; the task stays in its queue", name
            )
            # without this the task would start and fail again at once, forever; after a
            # reset another task may have the name
            if queue.find(name) is task:
                queue.pass_over(name)
        finally:
            queue.end(name)
        try:
            self._taskqueue.flush()
        except StorageError as error:
            # for example a full disk; the next change tries again to store the result
            logger.error("the result of task %s was not stored: %s", name, error)
        except Exception:
            logger.exception("task %s: the dev server failed to store the result", name)

    def next_due(self) -> float | None:
        """Return when the next task may start (seconds since the epoch), or None."""
        return self._schedule.next_due(self._clock.now())

    async def advance(self, seconds: float) -> int:
        """Advance the clock, and run all tasks that become due, in their order.

        This returns when every task due by then has finished, including the tasks and
        the retries that those add. The result is the number of executions that ended.

        Raises:
            AppUnavailable: the app does not run, so its tasks have to wait.
            EndlessTasksError: tasks seem to add others forever.
        """
        try:
            return await self._advance(seconds)
        finally:
            self._unreported.clear()

    def _limit(self) -> RunLimit:
        queues = [*self._taskqueue.queues().values(), *self._other_queues]
        waiting = sum(queue.Count() for queue in queues)
        return RunLimit(self._clock, self.finished, waiting, self._max_runs)

    async def _advance(self, seconds: float, limit: RunLimit | None = None) -> int:
        async with self._advancing:
            limit = limit or self._limit()
            try:
                await self._advance_to(self._clock.now() + seconds, limit)
            finally:
                # the loop still waits by the old time
                self.wake()
            return limit.runs(self.finished)

    async def _advance_to(self, target: float, limit: RunLimit) -> None:
        resets = self._resets
        while True:
            # yield in every round, so that a broken queue does not block the loop
            await asyncio.sleep(0)
            await self._settle(limit)
            if self._resets != resets:
                # the target belongs to the time before the reset
                return
            due = self.next_due()
            if due is not None and due <= max(target, self._clock.now()):
                self._clock.move_to(due)
            elif self._clock.now() < target:
                self._clock.move_to(target)
            else:
                return

    async def advance_to_next_task(self) -> int:
        """Advance the clock to the next task that is due later, and run it.

        Raises:
            AppUnavailable: the app does not run, so its tasks have to wait.
            EndlessTasksError: tasks seem to add others forever.
        """
        try:
            return await self._advance_to_next_task()
        finally:
            self._unreported.clear()

    async def _advance_to_next_task(self) -> int:
        async with self._advancing:
            limit = self._limit()
            await self._settle(limit)
        if not limit.runs(self.finished) and (due := self.next_due()) is not None:
            await self._advance(max(0.0, due - self._clock.now()), limit)
        return limit.runs(self.finished)

    async def run_next(self) -> Run | None:
        """Return the first execution since the last advance, reset or call of this.

        A task that is due runs by itself, perhaps before this call. If there was no
        execution, the clock advances to the next task. None: no task waits.

        Raises:
            AppUnavailable: the app does not run, so its tasks have to wait.
            EndlessTasksError: tasks seem to add others forever.
        """
        if not self._unreported:
            await self._advance_to_next_task()
        return self._unreported.popleft() if self._unreported else None

    async def _settle(self, limit: RunLimit) -> None:
        """Wait until no task runs and no other may start at this moment."""
        while True:
            await self._start()
            if not self._running:
                return
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            limit.check(self.finished, self._last_run)


async def _cancel(tasks: Collection[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
