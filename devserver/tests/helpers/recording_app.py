"""A fake app that records the tasks it receives, and answers as a test chooses."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable

from gae_devserver.app.client import Request
from gae_devserver.app.supervisor import AppUnavailable
from tests.helpers.clock import StoppedClock


@dataclasses.dataclass(frozen=True)
class Execution:
    """A task as it arrives at the app."""

    at: float
    """Seconds since the start of the stopped clock."""
    method: str
    target: str
    header_list: tuple[tuple[str, str], ...]
    body: bytes
    deadline: float
    service: str

    @property
    def headers(self) -> dict[str, str]:
        """The headers, names in lower case."""
        return {name.lower(): value for name, value in self.header_list}

    @property
    def name(self) -> str:
        """The task's name."""
        return self.headers["x-appengine-taskname"]


Outcome = int | BaseException | Awaitable[int]
"""The result of one execution: a status, an error, or something to wait for."""


class App:
    """Takes tasks in place of the front; answers 200, or what a test chooses.

    It has one service or several (`gae_devserver.tasks.runner.Apps`).
    """

    def __init__(self, clock: StoppedClock) -> None:
        self._clock = clock
        self.services = ["default"]
        self.listeners: list[Callable[[], None]] = []
        """Called when a service runs again."""
        self._failures: dict[str, str] = {}
        self.executions: list[Execution] = []
        self.answer: Callable[[Execution], Outcome] = lambda execution: 200
        self.started = asyncio.Event()
        """Cleared while the app starts."""
        self.started.set()
        self.waiting = 0
        """How many wait for the app to start."""
        self.running = 0
        self.peak = 0

    def fail(self, reason: str | None, service: str = "default") -> None:
        """End a service for a reason, or run it again (None)."""
        if reason is not None:
            self._failures[service] = reason
        else:
            del self._failures[service]
            for listener in self.listeners:
                listener()

    def is_ready(self, service: str) -> bool:
        """Return whether a service runs."""
        return self.started.is_set() and service not in self._failures

    async def process(self, service: str) -> None:
        """Fail if a service does not run."""
        self.waiting += 1
        await self.started.wait()
        self.waiting -= 1
        if service in self._failures:
            raise AppUnavailable(self._failures[service])

    async def dispatch(self, request: Request, deadline: float) -> int:
        """Take a task and answer (`gae_devserver.tasks.execution.Dispatch`)."""
        await self.process(request.service)
        execution = Execution(
            self._clock.elapsed(),
            request.method,
            request.target,
            tuple(request.headers.items()),
            request.body or b"",
            deadline,
            request.service,
        )
        self.executions.append(execution)
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            # The answer of an app takes at least one turn of the loop.
            await asyncio.sleep(0)
            outcome = self.answer(execution)
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome if isinstance(outcome, int) else await outcome
        finally:
            self.running -= 1

    def answers(self, *outcomes: Outcome) -> None:
        """Answer with these outcomes in turn, then with 200."""
        waiting = iter(outcomes)
        self.answer = lambda execution: next(waiting, 200)

    @property
    def times(self) -> list[float]:
        """When tasks were executed, in seconds since the start."""
        return [execution.at for execution in self.executions]

    @property
    def names(self) -> list[str]:
        """Which tasks were executed, in order."""
        return [execution.name for execution in self.executions]
