"""The executions of tasks that run, and those that have just ended."""

import asyncio
import collections
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from gae_devserver.app.supervisor import AppUnavailable
from gae_devserver.storage.storage import StorageError
from gae_devserver.tasks.execution import Run, TaskExecutor
from gae_devserver.tasks.queues import Queue
from gae_devserver.tasks.stub import TaskQueue

logger = logging.getLogger("gae_devserver.task")


class Executions:
    """Each runs as a task of the event loop."""

    def __init__(
        self,
        taskqueue: TaskQueue,
        executor: TaskExecutor,
        on_run: Callable[[Run], bool],
    ) -> None:
        """Let `executor` run tasks of `taskqueue`.

        `on_run` is called after each, and says whether to leave it out of `unreported`.
        """
        self._taskqueue = taskqueue
        self._executor = executor
        self._on_run = on_run
        self._running: dict[asyncio.Task[None], str] = {}
        """The executions, and the service of each."""
        self._end = asyncio.Event()
        self.last: Run | None = None
        """The last one that has ended."""
        # without a limit, it would grow if nothing empties it
        self.unreported: collections.deque[Run] = collections.deque(maxlen=100)
        """The last ones that have ended."""
        self.resets = 0
        """How often the state of the server was reset."""

    def reset(self) -> None:
        """Report none of those that began before."""
        self.resets += 1
        self.unreported.clear()

    def begin(self, queue: Queue, task: Any, service: str) -> None:
        """Start a task, which is for a service."""
        queue.begin(task.task_name.decode(), service)
        run = asyncio.create_task(self._run(queue, task, service))
        self._running[run] = service
        run.add_done_callback(self._ended)

    def __len__(self) -> int:
        return len(self._running)

    def services(self) -> list[str]:
        """Return the service of each task that runs."""
        return list(self._running.values())

    async def next_end(self) -> None:
        """Wait until one of the tasks that run has ended."""
        # asyncio.wait would add a callback to each of them, and remove it again
        self._end.clear()
        await self._end.wait()

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
            await self.cancel()

    async def cancel(self) -> None:
        """End the tasks that run."""
        running = [*self._running]
        for run in running:
            run.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _ended(self, run: asyncio.Task[None]) -> None:
        del self._running[run]
        self._end.set()
        self._taskqueue.changed.wake()

    async def _run(self, queue: Queue, task: Any, service: str) -> None:
        """Execute one task once; log every error, so that the runner continues."""
        name, resets = task.task_name.decode(), self.resets
        try:
            if queue.find(name) is not task:
                return  # it was deleted before it started
            self.last = run = await self._executor.execute(queue, task, service)
            if resets == self.resets and not self._on_run(run):
                self.unreported.append(run)
        except AppUnavailable:
            pass  # the task waits again, and this does not count as an attempt
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
