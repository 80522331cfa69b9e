"""Injects faults for --faults: rare production failures become frequent.

    --faults twice=0.1,lost=0.1,error=0.1,slow=0.1,rpc=0.02,kill=0.02,seed=7

Each fault has a probability from 0 to 1; without one, it does not happen.

twice  a task is delivered a second time, during the first delivery or after it
lost   the answer to a task is lost after its work was done: the task is retried
error  a task is answered with 500 and never sent
slow   the answer to a task comes late, by up to two seconds
rpc    the answer to an API call is lost after its work was done: the app sees an error
kill   while a task runs, a worker process of the app is killed with SIGKILL
seed   decides which of these happen; without it, a seed is drawn and logged

Code that works with faults works in production: App Engine promises no more than to
deliver each task at least once.
"""

import asyncio
import logging
import os
import random
import secrets
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from gae_devserver.app import processes

if TYPE_CHECKING:
    from gae_devserver.app.client import Request
    from gae_devserver.app.process import AppProcess
    from gae_devserver.services.api_server import ApiCall
    from gae_devserver.tasks.execution import Dispatch

logger = logging.getLogger("gae_devserver.task")

NAMES = ("twice", "lost", "error", "slow", "rpc", "kill")

_SLOW_SECONDS = 2.0
# a worker is killed within this time: before, during or after the task's work
_KILL_SECONDS = 0.05


class Faults:
    """Decides which faults happen, and makes them."""

    def __init__(
        self,
        rates: Mapping[str, float],
        seed: int | None = None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Make faults with these probabilities; without a seed, draw one."""
        self._rates = rates
        self.seed = secrets.randbelow(2**32) if seed is None else seed
        self._sleep = sleep
        # one for each fault: the rate of one must not change when others happen
        self._random = {name: random.Random(f"{self.seed} {name}") for name in NAMES}
        self._killing: set[asyncio.Task[None]] = set()

    def __str__(self) -> str:
        rates = (f"{name}={rate:g}" for name, rate in self._rates.items())
        return ",".join([*rates, f"seed={self.seed}"])

    @classmethod
    def parse(cls, text: str) -> "Faults":
        """Return the faults that an option asks for.

        Raises:
            ValueError: it cannot be parsed; the message is for the user.
        """
        rates: dict[str, float] = {}
        seed = None
        for part in text.split(","):
            name, _, value = part.partition("=")
            try:
                if name == "seed":
                    seed = int(value)
                    continue
                rates[name] = float(value)
            except ValueError:
                raise ValueError(
                    f"{part!r} does not have the form NAME=NUMBER"
                ) from None
            if name not in NAMES:
                raise ValueError(
                    f"there is no fault {name!r}. Choose from: {', '.join(NAMES)}"
                )
            if not 0 <= rates[name] <= 1:
                raise ValueError(f"the probability in {part!r} is not between 0 and 1")
        return cls(rates, seed)

    def happens(self, fault: str, where: str) -> bool:
        """Draw whether a fault happens now; log it with `where`."""
        happens = self._random[fault].random() < self._rates.get(fault, 0.0)
        if happens:
            logger.info("fault %s: %s", fault, where)
        return happens

    def in_api_calls(self, call: "ApiCall") -> "ApiCall":
        """Return a `call` that fails now and then after it was carried out."""
        from google.appengine.runtime import apiproxy_errors

        async def faulty(service: str, method: str, data: bytes, ticket: str) -> bytes:
            answer = await call(service, method, data, ticket)
            if self.happens("rpc", f"{service}.{method}"):
                raise apiproxy_errors.RPCFailedError(
                    f"injected fault: the answer to {service}.{method} was lost"
                )
            return answer

        return faulty

    def in_rpc(self, rpc: str) -> None:
        """Fail now and then after an RPC, such as "Datastore.Commit", was carried out.

        Raises:
            UnavailableError: this one fails.
        """
        from gae_devserver.rpc.errors import UnavailableError

        if self.happens("rpc", rpc):
            raise UnavailableError(f"injected fault: the answer to {rpc} was lost")

    def in_tasks(
        self,
        dispatch: "Dispatch",
        process: "Callable[[Request], Awaitable[AppProcess]]",
    ) -> "Dispatch":
        """Return a `dispatch` with faults; `process` returns what gets a request."""

        async def faulty(request: "Request", deadline: float) -> int:
            task = f"task {request.headers.get('X-Appengine-Taskname')}"
            if self.happens("error", task):
                return 500
            if self.happens("kill", task):
                killing = asyncio.create_task(self._kill_worker(process(request)))
                self._killing.add(killing)
                killing.add_done_callback(self._killing.discard)

            async def deliver() -> int:
                return await dispatch(request, deadline)

            twice = self.happens("twice", task)
            outcome = await (self._twice(deliver) if twice else deliver())
            if self.happens("slow", task):
                await self._sleep(self._random["slow"].uniform(0.0, _SLOW_SECONDS))
            if self.happens("lost", task):
                raise ConnectionResetError("injected fault: the answer was lost")
            return outcome

        return faulty

    async def _twice(self, deliver: Callable[[], Coroutine[Any, Any, int]]) -> int:
        if self._random["twice"].random() < 0.5:
            await deliver()
            return await deliver()
        # the queue knows of only one of the two
        unknown = asyncio.create_task(deliver())
        try:
            return await deliver()
        finally:
            await asyncio.gather(unknown, return_exceptions=True)

    async def _kill_worker(self, process: "Awaitable[AppProcess]") -> None:
        await self._sleep(self._random["kill"].uniform(0.0, _KILL_SECONDS))
        try:
            if found := await workers((await process).pid):
                os.kill(self._random["kill"].choice(found), signal.SIGKILL)
        except ProcessLookupError:
            pass
        except Exception as error:  # noqa: BLE001 - the task continues
            logger.warning("cannot kill a worker: %r", error)


async def workers(watchdog: int) -> list[int]:
    """Return the ids of the app's worker processes.

    The child of the watchdog is the app itself, which replaces workers that die.
    """
    parents = await asyncio.to_thread(processes.running)
    below = processes.below(watchdog, parents) - set(parents.values())
    return sorted(process for process in below if parents[process] != watchdog)
