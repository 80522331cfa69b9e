"""Ends an advance of the clock whose tasks add others forever."""

from gae_devserver.clock import Clock
from gae_devserver.tasks.execution import Run
from gae_devserver.tasks.function_names import function_name
from gae_devserver.terminal import printable

MAX_RUNS = 10_000
"""Executions that an advance may have besides those that `RunLimit` adds."""
_RUNS_OF_A_TASK = 10
_RUNS_PER_SECOND = 10.0


class EndlessTasksError(Exception):
    """An advance was ended, because its tasks seem to go on forever."""

    def __init__(self, text: str, tasks_run: int) -> None:
        super().__init__(text)
        self.tasks_run = tasks_run
        """How many executions ended before."""


class RunLimit:
    """Limits the executions of one advance.

    The limit grows with the tasks that wait when it begins, which may be many and may
    fail, and with the seconds that it advances, in which cron jobs run often. A task
    that adds another one without a countdown reaches it within seconds.
    """

    def __init__(
        self, clock: Clock, finished: int, waiting: int, max_runs: int
    ) -> None:
        """Begin an advance; so many executions have ended, and so many tasks wait."""
        self._clock = clock
        self._finished = finished
        self._offset = clock.offset
        self._max_runs = max_runs + _RUNS_OF_A_TASK * waiting

    def runs(self, finished: int) -> int:
        """Return how many executions of this advance have ended."""
        return finished - self._finished

    def check(self, finished: int, last: Run | None) -> None:
        """Fail if too many executions have ended; the last one is an example.

        Raises:
            EndlessTasksError: there were too many.
        """
        runs, advanced = self.runs(finished), self._clock.offset - self._offset
        if last is None or runs <= self._max_runs + _RUNS_PER_SECOND * advanced:
            return
        task = last.task
        what = function_name(task.body) or printable(task.url.decode(errors="replace"))
        raise EndlessTasksError(
            f"The clock was advanced by {advanced:.3f} s only, because {runs} tasks "
            f"have run and more are due, such as {what} in the queue "
            f"{last.queue.queue_name!r}. If a task adds itself again or is retried at "
            "once, give it a countdown or a longer backoff, or pause or purge its "
            "queue. If you expect so many, advance in smaller steps.",
            runs,
        )
