"""Decides which task runs when."""

import asyncio
import contextlib
import heapq
import itertools
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from gae_devserver.app.supervisor import AppUnavailable
from gae_devserver.clock import Clock
from gae_devserver.storage.storage import StorageError
from gae_devserver.tasks.execution import DEADLINE, Dispatch, TaskExecutor
from gae_devserver.tasks.queues import Queue
from gae_devserver.tasks.schedule import Schedule, TokenBucket
from gae_devserver.tasks.stub import TaskQueue

logger = logging.getLogger("gae_devserver.task")

MAX_RUNNING = 16
"""Tasks that run at once over all queues.

A worker with twice as many threads always has some that no task holds, for visitors and
for tasks that fetch a page of their own app.
"""

_APP_RETRY_SECONDS = 0.25


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
    ) -> None:
        """Prepare to run tasks; `deadline` is in seconds."""
        self._taskqueue = taskqueue
        self._clock = clock
        self._ready = ready
        self._executor = TaskExecutor(clock, dispatch, deadline)
        self._schedules: dict[Queue, Schedule] = {}
        self._order = itertools.count()
        self._running: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._changed = asyncio.Condition()
        self._advancing = asyncio.Lock()
        self._resets = 0
        self._loop_task: asyncio.Task[None] | None = None
        self._ends = 0

    @property
    def finished(self) -> int:
        """How many executions have ended since the start."""
        return self._executor.finished

    def start(self) -> None:
        """Begin to run tasks."""
        self._taskqueue.listen(self)
        self._loop_task = asyncio.create_task(self._run_forever())

    async def stop(self) -> None:
        """Stop; tasks that are running are cut off."""
        doomed = [*self._running]
        if self._loop_task is not None:
            doomed.append(self._loop_task)
        for task in doomed:
            task.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)

    def scheduled(self, queue: Queue, name: str, eta_usec: int) -> None:
        """Schedule a task that has a new time (`taskqueue.Listener`)."""
        if queue.is_push:
            entry = (eta_usec, next(self._order), name)
            heapq.heappush(self._schedule(queue).entries, entry)
            self._wake.set()

    async def quiet(self, seconds: float) -> None:
        """Wait, but not longer than `seconds`, until no task runs."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                async with self._changed:
                    await self._changed.wait_for(lambda: not self._running)

    def reset(self) -> None:
        """Forget how full the buckets are; to be called when the queues are empty."""
        self._schedules.clear()
        self._resets += 1
        self._wake.set()

    def wake(self) -> None:
        """Look again: the clock moved, or a queue was paused, resumed or changed."""
        self._wake.set()

    def _schedule(self, queue: Queue) -> Schedule:
        schedule = self._schedules.get(queue)
        if schedule is None or schedule.config is not queue.config:
            entries = schedule.entries if schedule else []
            rate, size = queue.config.rate, queue.config.bucket_size
            bucket = TokenBucket(rate, size, self._clock.now()) if rate else None
            schedule = Schedule(queue, bucket, queue.config, entries)
            self._schedules[queue] = schedule
        return schedule

    async def _run_forever(self) -> None:
        while True:
            self._wake.clear()
            try:
                following = await self._start()
            except AppUnavailable:
                await asyncio.sleep(_APP_RETRY_SECONDS)
                continue
            now = self._clock.now()
            timeout = None if following is None else max(0.0, following - now)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._wake.wait()

    async def _start(self) -> float | None:
        """Start what may start now, if the app is there; return when to look again.

        Raises:
            AppUnavailable: it is not.
        """
        due = self.next_due()
        if due is not None and due <= self._clock.now():
            # not after a task is taken: as long as it waits, it can be held or deleted
            await self._ready()
        return self._start_due(self._clock.now())

    def _start_due(self, now: float) -> float | None:
        """Start what may start now; return when to look again, if not woken before."""
        queues = self._taskqueue.queues().values()
        schedules = [self._schedule(queue) for queue in queues if queue.is_push]
        moments = []
        while schedules:
            # the queue that runs least: a long one must not hold up the others
            schedule = min(schedules, key=lambda one: len(one.queue.running))
            started, moment = self._start_first(schedule, now)
            if not started:
                schedules.remove(schedule)
                moments.append(moment)
        return min((m for m in moments if m is not None), default=None)

    def _start_first(self, schedule: Schedule, now: float) -> tuple[bool, float | None]:
        """Start the first task of a queue; or return when it may be started."""
        queue = schedule.queue
        limit = queue.config.max_concurrent_requests or MAX_RUNNING
        if queue.held or (first := schedule.first()) is None:
            return False, None
        due, task = first
        if due > now:
            return False, due
        # the end of a running task wakes the loop
        if len(queue.running) >= limit or len(self._running) >= MAX_RUNNING:
            return False, None
        if schedule.bucket is not None and not schedule.bucket.take(now):
            return False, schedule.bucket.next_token(now)
        heapq.heappop(schedule.entries)
        queue.running.add(task.task_name.decode())
        run = asyncio.create_task(self._run(queue, task))
        self._running.add(run)
        run.add_done_callback(self._running.discard)
        return True, None

    async def _run(self, queue: Queue, task: Any) -> None:
        """Execute one task once. Whatever it does, the runner goes on."""
        name = task.task_name.decode()
        broken = False
        try:
            await self._executor.execute(queue, task)
        except AppUnavailable:
            # not the task's fault: it waits again, and no attempt is counted
            logger.info("task %s was not sent: the app is not running", name)
        except Exception:
            # not again by itself: it would fail again at once, and so on for ever
            broken = True
            logger.exception(
                "task %s: the dev server failed; the task stays in its queue", name
            )
        finally:
            queue.running.discard(name)
            if (this := asyncio.current_task()) is not None:
                self._running.discard(this)
        # it waits for its retry, or another task has its name by now (after a reset)
        waiting = queue.find(name)
        if waiting is not None and not (broken and waiting is task):
            self.scheduled(queue, name, waiting.eta_usec)
        try:
            self._taskqueue.flush()
        except StorageError as error:
            # a full disk, for example: it is tried again with the next change
            logger.error("the result of task %s was not stored: %s", name, error)
        except Exception:
            logger.exception("task %s: the dev server failed to store the result", name)
        self._ends += 1
        self._wake.set()
        async with self._changed:
            self._changed.notify_all()

    def next_due(self) -> float | None:
        """Return when the next task may start (seconds since the epoch), or None.

        A held queue does not count: its tasks wait for somebody, not for the time.
        """
        now = self._clock.now()
        moments = []
        for queue in self._taskqueue.queues().values():
            schedule = self._schedule(queue)
            if queue.is_push and not queue.held and (first := schedule.first()):
                token = schedule.bucket.next_token(now) if schedule.bucket else now
                moments.append(max(first[0], token))
        return min(moments, default=None)

    async def advance(self, seconds: float) -> int:
        """Move the clock on, and run all that is due on the way, in its order.

        Answers when every task due by then has finished, with the tasks and the
        retries that those add; what is due later stays.

        Returns:
            How many executions ended meanwhile.

        Raises:
            AppUnavailable: the app does not run, so that its tasks have to wait.
        """
        async with self._advancing:
            before, resets = self.finished, self._resets
            target = self._clock.now() + seconds
            while True:
                # whatever is wrong with a queue, others get their turn
                await asyncio.sleep(0)
                await self._settle()
                if self._resets != resets:
                    # the time that it was to be has no meaning any more
                    return self.finished - before
                due = self.next_due()
                if due is not None and due <= max(target, self._clock.now()):
                    self._clock.move_to(due)
                elif self._clock.now() < target:
                    self._clock.move_to(target)
                else:
                    # the loop still waits by the time as it was
                    self.wake()
                    return self.finished - before

    async def advance_to_next_task(self) -> int:
        """Move the clock to the next task that is due later, and run it."""
        async with self._advancing:
            before = self.finished
            await self._settle()
        if self.finished == before and (due := self.next_due()) is not None:
            await self.advance(max(0.0, due - self._clock.now()))
        return self.finished - before

    async def _settle(self) -> None:
        """Wait until nothing runs and nothing more may start at this moment."""
        while True:
            ends = self._ends
            await self._start()
            if not self._running:
                return
            async with self._changed:
                while self._ends == ends:
                    await self._changed.wait()
