"""Runs the tasks of the queues, by the clock or by an advance of it."""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from gae_devserver.activity.activity import Activity
from gae_devserver.app.supervisor import AppUnavailable
from gae_devserver.clock import Clock
from gae_devserver.tasks.execution import (
    DEADLINE,
    Dispatch,
    MakeRequest,
    Run,
    TaskExecutor,
)
from gae_devserver.tasks.executions import Executions
from gae_devserver.tasks.headers import task_request
from gae_devserver.tasks.queues import Queue
from gae_devserver.tasks.run_limit import MAX_RUNS, RunLimit
from gae_devserver.tasks.schedule import MAX_RUNNING, Schedule
from gae_devserver.tasks.stub import TaskQueue


class Apps(Protocol):
    """The processes of the services, by the names of these."""

    @property
    def services(self) -> Collection[str]:
        """The services that run."""

    def is_ready(self, service: str) -> bool:
        """Return whether a service can get tasks."""

    async def process(self, service: str) -> object:
        """Wait while a service starts.

        Raises:
            AppUnavailable: it has died.
        """


class TaskRunner:
    """Runs the push queues of one app.

    The tasks for a service that is not ready wait; all others go on.
    """

    def __init__(
        self,
        taskqueue: TaskQueue,
        clock: Clock,
        dispatch: Dispatch,
        apps: Apps,
        *,
        deadline_of: Callable[[str], float] = lambda service: DEADLINE,
        max_running: int = MAX_RUNNING,
        make_request: MakeRequest = task_request,
        other_queues: Collection[Queue] = (),
        on_run: Callable[[Run], bool] = lambda run: False,
        max_runs: int = MAX_RUNS,
        records: Activity | None = None,
    ) -> None:
        """Prepare to run tasks, at most `max_running` at once for each service.

        As many tasks with an HTTP target may run beside them. When a service becomes
        ready, call `wake`.

        A service may take `deadline_of` seconds for a task. `make_request` makes the
        request of a task. `other_queues` are hidden from the app. `on_run` is called
        after each execution, and says whether `run_next` is to leave it out. `max_runs`
        limits an advance; see `RunLimit`. `records` keeps each execution.
        """
        self._taskqueue = taskqueue
        self._clock = clock
        self._apps = apps
        self._max_runs = max_runs
        self._several_services = len(apps.services) > 1
        self._executor = TaskExecutor(
            clock,
            dispatch,
            deadline_of,
            make_request,
            several_services=self._several_services,
            records=records,
        )
        self._executions = Executions(taskqueue, self._executor, on_run)
        self._schedule = Schedule(
            taskqueue, other_queues, max_running, self._can_get_tasks
        )
        self._other_queues = other_queues
        self._advancing = asyncio.Lock()
        self._free = asyncio.Event()
        self._free.set()
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
        if self._loop_task is not None:
            self._loop_task.cancel()
            await asyncio.gather(self._loop_task, return_exceptions=True)
        await self._executions.cancel()

    @property
    def is_busy(self) -> bool:
        """Whether a task runs."""
        return bool(self._executions)

    async def idle(self) -> None:
        """Wait until no task runs."""
        await self._executions.idle()

    async def quiet(self, seconds: float) -> None:
        """Wait until no task runs; cancel those that run for more than `seconds`."""
        await self._executions.quiet(seconds)

    def hold(self) -> None:
        """Start no task before `reset`."""
        self._free.clear()

    def reset(self) -> None:
        """End an advance that is under way: the clock was reset."""
        self._executions.reset()
        self._free.set()
        self.wake()

    def wake(self) -> None:
        """Look again: the clock moved, a queue or the state of a service changed."""
        self._taskqueue.changed.wake()

    def _can_get_tasks(self, service: str) -> bool:
        # an HTTP target may run anywhere, and a task for an unknown service fails
        return not service or self._apps.is_ready(service)

    async def _run_forever(self) -> None:
        while True:
            await self._not_held()
            following = self._start_due()
            now = self._clock.now()
            timeout = None if following is None else max(0.0, following - now)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._taskqueue.changed.wait()

    async def _not_held(self) -> None:
        while not self._free.is_set():
            await self._free.wait()

    def _start_due(self) -> float | None:
        """Start what may start now; return when to look again, unless woken before."""
        now = self._clock.now()
        while True:
            chosen, moment = self._schedule.choose(now, self._executions.services())
            if chosen is None:
                return moment
            self._executions.begin(*chosen)

    async def run_now(self, queue: Queue, name: str) -> Any:
        """Start a task, even if it is due later or its queue is held or busy.

        Returns:
            The task (a QueryTasksResponse.Task), which may have been running already;
            None: there is no such task.

        Raises:
            AppUnavailable: its service does not run, so the task was not started.
        """
        task = queue.find(name)
        if task is not None and (service := queue.service_of(task)):
            await self._apps.process(service)
        await self._not_held()
        # meanwhile it may have been deleted
        task = queue.find(name)
        if task is not None and name not in queue.running:
            queue.RunTaskNow(task)
            self._executions.begin(queue, task, queue.service_of(task))
            await asyncio.sleep(0)  # so that it notes when it was sent
        return task

    def next_due(self) -> float | None:
        """Return when the next task may start (seconds since the epoch), or None."""
        return self._schedule.next_due(self._clock.now())

    async def advance(self, seconds: float) -> int:
        """Advance the clock, and run all tasks that become due, in their order.

        This returns when every task due by then has finished, including the tasks and
        the retries that those add. The result is the number of executions that ended.

        Raises:
            AppUnavailable: tasks are due for a service that does not run. If there are
                several services, the tasks of all others have run.
            EndlessTasksError: tasks seem to add others forever.
        """
        try:
            return await self._advance(seconds)
        finally:
            self._executions.unreported.clear()

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
        resets = self._executions.resets
        while True:
            # yield in every round, so that a broken queue does not block the loop
            await asyncio.sleep(0)
            unavailable = await self._settle(limit)
            if self._executions.resets != resets:
                # the target belongs to the time before the reset
                return
            due = self.next_due()
            if unavailable is not None and not self._several_services:
                raise unavailable
            if due is not None and due <= max(target, self._clock.now()):
                self._clock.move_to(due)
            elif self._clock.now() < target:
                self._clock.move_to(target)
            elif unavailable is not None:
                raise unavailable
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
            self._executions.unreported.clear()

    async def _advance_to_next_task(self) -> int:
        async with self._advancing:
            limit = self._limit()
            if (unavailable := await self._settle(limit)) is not None:
                raise unavailable
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
        unreported = self._executions.unreported
        if not unreported:
            await self._advance_to_next_task()
        return unreported.popleft() if unreported else None

    async def _settle(self, limit: RunLimit) -> AppUnavailable | None:
        """Wait until no task runs and no other may start at this moment.

        This waits for a service that starts. The result says which tasks are due for a
        service that does not run.
        """
        while True:
            await self._not_held()
            self._start_due()
            if self._executions:
                await self._executions.next_end()
                limit.check(self.finished, self._executions.last)
                continue
            errors: dict[str, AppUnavailable] = {}
            for service in self._schedule.held_up(self._clock.now()):
                try:
                    await self._apps.process(service)
                except AppUnavailable as error:
                    errors[service] = error
                else:
                    break
            else:
                return self._unavailable(errors)

    def _unavailable(
        self, errors: Mapping[str, AppUnavailable]
    ) -> AppUnavailable | None:
        if errors and not self._several_services:
            return next(iter(errors.values()))
        texts = []
        for service, error in errors.items():
            # they may have been deleted meanwhile
            if count := self._schedule.count_due(service, self._clock.now()):
                tasks = "1 task waits" if count == 1 else f"{count} tasks wait"
                texts.append(f"{tasks} for the service {service!r}: {error}")
        return AppUnavailable("\n\n".join(texts)) if texts else None
