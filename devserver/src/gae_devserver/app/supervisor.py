"""Keeps the app running: readiness, restart after a change or a crash."""

import asyncio
import dataclasses
import logging
import math
import time
from collections.abc import Awaitable, Callable

from gae_devserver.app.advice import entrypoints
from gae_devserver.app.process import AppProcess

logger = logging.getLogger("gae_devserver.app")


@dataclasses.dataclass(frozen=True)
class Limits:
    """Times in seconds."""

    probe: float = 0.01
    """How often to look whether the app is ready."""
    patience: float = 5.0
    """A server that keeps an unused connection open for this long counts as ready."""
    slow_start: float = 10.0
    """When to log that the app is not ready yet."""
    first_delay: float = 1.0
    """How long to wait after the first crash; each further crash doubles it."""
    longest_delay: float = 30.0
    """The limit for that; an app that ran for longer gets `first_delay` again."""


DEFAULT_LIMITS = Limits()


class AppUnavailable(Exception):  # noqa: N818 - a state, not a mistake
    """The app is not running, so nothing was sent to it; the message is the reason."""


class Supervisor:
    """Replaces the app's process when it has changed or died.

    An app that dies while it starts is started again only after the next change: it
    would die again. One that dies later is started again after 1 s, then 2 s, 4 s …
    up to 30 s, and after 1 s again once it has run for 30 s.
    """

    def __init__(
        self,
        start: Callable[[], AppProcess],
        *,
        what_to_do: Callable[[str, bool], str] = lambda reason, reloading: "",
        warm_up: Callable[[AppProcess], Awaitable[None]] | None = None,
        name: str = "app",
        is_optional: Callable[[], bool] = lambda: False,
        on_change: Callable[[], object] = lambda: None,
        one_at_a_time: bool = False,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """Supervise the processes that `start` makes.

        If the app ends before it is ready, `what_to_do` gets the reason and whether
        the server goes on; it returns advice for the user. `warm_up` is called with
        each process before it counts as ready. Messages call the app `name`; if it is
        optional, they do not repeat that it does not start.
        `on_change` is called when it becomes ready, and when it no longer is.
        `one_at_a_time`: a process begins only when the one before has ended.
        """
        self._start = start
        self._one_at_a_time = one_at_a_time
        self._name = name
        self._is_optional = is_optional
        self._on_change = on_change
        self._what_to_do = what_to_do
        self._warm_up = warm_up
        self._limits = limits
        self._process: AppProcess | None = None
        self._ending: set[AppProcess] = set()
        self._ready = False
        self._stopped = False
        self._was_ready = False
        self._started = math.inf
        self._reports = False
        """Whether this class logs how a start ends; `run` tells its caller first."""
        self._failure: str | None = None
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def run(self, process: AppProcess | None = None) -> None:
        """Supervise a process that was just started, or start one.

        Return when it is ready.

        Raises:
            AppUnavailable: it has died.
        """
        self._supervise(process)
        await self.process()

    async def process(self) -> AppProcess:
        """Return the process that is ready; wait for it while it starts.

        Raises:
            AppUnavailable: it has died.
        """
        while not self._ready and self._failure is None:
            await self._changed.wait()
        return self.ready_process()

    async def until_ready(self) -> None:
        """Wait until it is ready, also if it first dies and then restarts."""
        while not self._ready:
            await self._changed.wait()

    def ready_process(self) -> AppProcess:
        """Return the process that is ready, without waiting.

        Raises:
            AppUnavailable: it is starting, or has died.
        """
        if not self._ready:
            raise AppUnavailable(self._failure or f"The {self._name} is starting.")
        assert self._process is not None
        return self._process

    @property
    def pid(self) -> int | None:
        """The parent of the app's processes; None: it has none."""
        return None if self._process is None else self._process.pid

    @property
    def failure(self) -> str | None:
        """Why the app does not run; None: it is ready, or it starts."""
        return self._failure

    @property
    def started(self) -> float:
        """When the present process became ready or died; infinite if it starts."""
        return self._started

    @property
    def is_restarted(self) -> bool:
        """Whether the app began again before it was ready for the first time."""
        return self._reports and not self._was_ready

    @property
    def is_ready(self) -> bool:
        """Whether the app gets requests."""
        return self._ready

    def report(self) -> None:
        """Log how the first start ends too, in place of the caller of `run`."""
        self._reports = True

    def restart(self) -> None:
        """Start a new process, and end the old one at the same time."""
        if not self._stopped:
            self._reports = True
            self._supervise(None)

    def replace(self, process: AppProcess) -> bool:
        """Restart the app if this is its process; return whether it is."""
        if process is not self._process:
            return False
        self.restart()
        return True

    async def restart_alone(self) -> None:
        """Start a new process; return when every older one is gone."""
        self.restart()
        await asyncio.gather(*map(_exit, self._ending))

    async def stop(self) -> None:
        """End the app's process for good; return when it is gone."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
        self._set(failure="The dev server is stopping.")
        self._end()
        await asyncio.gather(*map(_exit, self._ending))

    def _end(self) -> None:
        self._ending = {p for p in self._ending if p.exit_status is None}
        if self._process is not None:
            self._ending.add(self._process)
            self._process.stop()
            self._process = None

    def _supervise(self, process: AppProcess | None) -> None:
        if self._task is not None:
            self._task.cancel()
        self._end()
        self._set()
        self._task = asyncio.create_task(self._keep_running(process))

    def _set(self, *, ready: bool = False, failure: str | None = None) -> None:
        self._ready, self._failure = ready, failure
        self._started = time.time() if ready or failure else math.inf
        # wake all that wait now; a later call waits for the next event
        self._changed.set()
        self._changed = asyncio.Event()
        self._on_change()

    async def _keep_running(self, process: AppProcess | None) -> None:
        delay = self._limits.first_delay
        restarts = False
        while True:
            try:
                if process is None and self._one_at_a_time:
                    await asyncio.gather(*map(_exit, self._ending))
                self._process = process = process or self._start()
                await self._until_ready(process)
            except Exception as error:  # noqa: BLE001 - requests wait for a result
                reason = str(error) or type(error).__name__
                if isinstance(error, OSError):
                    reason = f"The server cannot start the {self._name}: {reason}."
                elif isinstance(error, AppUnavailable):
                    advice = self._what_to_do(reason, self._reports)
                    reason = _with_advice(reason, advice)
                silent = self._is_optional() and not self._was_ready
                if silent or not self._reports:
                    self._set(failure=reason)
                    return
            else:
                if self._reports:
                    again = " again" if self._was_ready else ""
                    logger.info("the %s is ready%s", self._name, again)
                self._was_ready = self._reports = restarts = True
                process.log_advice()
                self._set(ready=True)
                began = time.monotonic()
                await _exit(process)
                reason = self._end_of(process, "after it was ready")
                if time.monotonic() - began > self._limits.longest_delay:
                    delay = self._limits.first_delay
            process = None
            what = f"in {delay:g} s" if restarts else "when one of its files changes"
            next_start = f"The {self._name} restarts {what}."
            logger.error("%s %s", reason.partition("\n")[0], next_start)
            self._set(failure=f"{reason}\n\n{next_start}")
            if not restarts:
                return
            await asyncio.sleep(delay)
            delay = min(2 * delay, self._limits.longest_delay)
            self._set()

    async def _until_ready(self, process: AppProcess) -> None:
        ready = asyncio.create_task(self._become_ready(process))
        exited = asyncio.create_task(_exit(process))
        try:
            done, _ = await asyncio.wait(
                {ready, exited}, return_when=asyncio.FIRST_COMPLETED
            )
            if exited in done:
                raise AppUnavailable(self._end_of(process, "before it was ready"))
            await ready
        finally:
            ready.cancel()
            exited.cancel()

    async def _become_ready(self, process: AppProcess) -> None:
        slow = asyncio.get_running_loop().call_later(
            self._limits.slow_start, self._log_slow_start, process
        )
        try:
            # poll: an open port causes no event
            while not await self._answers(process):  # noqa: ASYNC110
                await asyncio.sleep(self._limits.probe)
        finally:
            slow.cancel()
        if self._warm_up is not None:
            await self._warm_up(process)

    async def _answers(self, process: AppProcess) -> bool:
        """Return whether a worker of the app takes connections.

        An open port proves nothing: gunicorn listens before it has loaded the app. But
        its workers close a connection that is closed for writing, and the app sees no
        request. Other servers may keep it open.
        """
        writer = None
        is_gunicorn = process.is_gunicorn or process.socket_path is not None
        patience = None if is_gunicorn else self._limits.patience
        try:
            reader, writer = await connect(process)
            writer.write_eof()
            async with asyncio.timeout(patience):
                await reader.read()
        except TimeoutError:
            return True
        except OSError:
            return False
        finally:
            if writer is not None:
                writer.close()
        return True

    def _log_slow_start(self, process: AppProcess) -> None:
        where, reason = process.socket_path, ""
        if where is None:
            where = f"port {process.port} ($PORT)"
            reason = entrypoints.not_listening(
                process.entrypoint, process.port, process.tail()
            )
        text = f"is not listening on {where} yet; still waiting. {reason}"
        logger.warning("the %s %s", self._name, text.rstrip(". "))

    def _end_of(self, process: AppProcess, when: str) -> str:
        status = process.exit_status
        assert status is not None
        how = f"signal {status - 128}" if status > 128 else f"exit status {status}"
        ended = f"The {self._name} ended with {how} {when}."
        return f"{ended}\n\n{process.tail()}".rstrip()


async def connect(
    process: AppProcess,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the port or socket that the app listens on."""
    if (socket_path := process.socket_path) is not None:
        return await asyncio.open_unix_connection(socket_path)
    return await asyncio.open_connection("127.0.0.1", process.port)


async def _exit(process: AppProcess) -> None:
    """Wait until the process has ended."""
    loop = asyncio.get_running_loop()
    exited = asyncio.Event()
    process.when_exited(lambda: loop.call_soon_threadsafe(exited.set))
    await exited.wait()


def _with_advice(reason: str, advice: str) -> str:
    summary, _, printed = reason.partition("\n")
    return f"{summary} {advice}".rstrip() + f"\n{printed}".rstrip()
