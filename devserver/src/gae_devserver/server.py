"""Runs the dev server: its signals, its parent, its start and its end."""

import asyncio
import logging
import os
import signal
import threading
import webbrowser
from collections.abc import Coroutine, Sequence
from typing import Any

from gae_devserver import terminal
from gae_devserver.app.supervisor import AppUnavailable
from gae_devserver.app_service import AppService
from gae_devserver.config.application import Application, with_shared_files
from gae_devserver.http import sockets
from gae_devserver.launch import Launched
from gae_devserver.memory import kept_for_good
from gae_devserver.parts import Parts, Settings, port_of

logger = logging.getLogger("gae_devserver")

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_OTHERS_SECONDS = 30.0
"""How long the banner waits for the other services, once one is ready."""


class Server:
    """The dev server with one app, from its start to its end."""

    def __init__(
        self, settings: Settings, application: Application, launched: Sequence[Launched]
    ) -> None:
        """Make the server, in the event loop that runs it."""
        self._settings = settings
        self._parts = Parts(settings, application, launched)
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_announced = False

    async def run(self) -> None:
        """Serve until a signal comes or the parent has ended.

        Raises:
            AppUnavailable: every service died while it started.
        """
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._stop.set)
        self._spawn(self._stop_with_parent())
        try:
            await self._parts.start()
            if await self._started():
                self._announce()
                await self._stop.wait()
        finally:
            await self._shut_down()

    async def _started(self) -> bool:
        """Return True when a service is ready, False when the server has to stop."""
        starting = {
            asyncio.create_task(self._start(service))
            for service in self._parts.services.values()
        }
        if self._settings.reload:
            # now: some may take long to start, while the user fixes another one
            self._spawn(self._parts.reloader.run())
        stopping = asyncio.create_task(self._stop.wait())
        waiting: set[asyncio.Task[Any]] = {stopping, *starting}
        ready, patience = 0, None
        failure: AppUnavailable | None = None
        while len(waiting) > 1 and stopping in waiting:
            done, waiting = await asyncio.wait(
                waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                break  # the banner says which services are still starting
            for start in done - {stopping}:
                if (failed := await start) is None:
                    ready, patience = ready + 1, _OTHERS_SECONDS
                else:
                    failure = failure or failed
        if self._stop.is_set():
            for start in starting:
                start.cancel()
            return False
        stopping.cancel()
        self._tasks |= waiting - {stopping}
        if not ready and failure is not None:
            raise failure
        return True

    async def _start(self, service: AppService) -> AppUnavailable | None:
        """Return None when a service is ready, or why it is not."""
        try:
            await service.run()
        except AppUnavailable as error:
            reason = str(error).partition("\n")[0]
            if service.is_static_site:
                logger.warning(
                    "%sthe server has only static files, because there is no app: %s",
                    service.label,
                    reason,
                )
                return None
            if service.app.is_restarted:
                # for an edit, and the next one may fix it
                await service.app.until_ready()
                return None
            if len(self._parts.services) > 1 and not self._is_announced:
                logger.error("%s", reason)
            return error
        if (notice := service.late_notice()) is not None:
            logger.warning("%s%s", service.label, notice)
        return None

    def _announce(self) -> None:
        self._is_announced = True
        for service in self._parts.services.values():
            service.app.report()
        settings = self._settings
        url = f"http://127.0.0.1:{port_of(settings.front_sockets[0])}"
        console = f"http://127.0.0.1:{port_of(settings.state_socket)}"
        storage = settings.storage
        services = self._parts.services.values()
        terminal.show_banner(
            self._parts.reloader.application,
            app_url=url,
            state_url=console,
            token=settings.token,
            grpc=f"127.0.0.1:{settings.launch.grpc_port}",
            cloud_tasks=settings.cloud_tasks,
            storage=str(storage.path.resolve()) if storage else "in memory",
            cron=settings.cron,
            other_urls=sockets.other_urls(settings.front_sockets),
            services=[
                one.describe(reloading=settings.reload)
                for one in services
                if one.sockets
            ],
        )
        if settings.open_browser:
            # in a thread: a browser in the terminal would block the loop
            link = console + self._parts.console_link.new_path()
            threading.Thread(target=_open_browser, args=(link,), daemon=True).start()

    async def _stop_with_parent(self) -> None:
        # poll: the end of a parent causes no event
        while os.getppid() == self._settings.parent:  # noqa: ASYNC110
            await asyncio.sleep(self._settings.parent_poll_seconds)
        logger.info("the process that started the server has ended; stopping")
        self._stop.set()

    async def _shut_down(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self._parts.stop()
        # ignore signals during the rest of the cleanup
        for number in _SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def run(
    settings: Settings, application: Application, launched: Sequence[Launched]
) -> None:
    """Serve an app whose services were just launched.

    Raises:
        ConfigError: a file that the services share cannot be used.
        AppUnavailable: every service died while it started.
    """
    complete = with_shared_files(application)
    # the others were logged before the app started
    for warning in complete.warnings[len(application.warnings) :]:
        logger.warning("%s", warning)
    with kept_for_good():
        server = Server(settings, complete, launched)
    await server.run()


def _open_browser(url: str) -> None:
    if not webbrowser.open(url):
        logger.warning(
            "no browser was found. Open the address in the line Console yourself"
        )
