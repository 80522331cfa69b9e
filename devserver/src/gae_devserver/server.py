"""Runs the dev server: its signals, its parent, its start and its end."""

import asyncio
import logging
import os
import signal
import threading
import webbrowser
from collections.abc import Coroutine
from typing import Any

from gae_devserver import terminal
from gae_devserver.app.process import AppProcess
from gae_devserver.app.python import Python
from gae_devserver.app.supervisor import AppUnavailable
from gae_devserver.config.application import Application, with_shared_files
from gae_devserver.config.handlers import is_static_site
from gae_devserver.http import sockets
from gae_devserver.parts import Parts, Settings, port_of

logger = logging.getLogger("gae_devserver")

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Server:
    """The dev server with one app, from its start to its end."""

    def __init__(
        self, settings: Settings, application: Application, python: Python
    ) -> None:
        """Make the server, in the event loop that runs it."""
        self._settings = settings
        self._parts = Parts(settings, application, python)
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, process: AppProcess) -> None:
        """Serve until a signal comes or the parent has ended.

        Raises:
            AppUnavailable: the app died while it started.
        """
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._stop.set)
        self._spawn(self._stop_with_parent())
        try:
            await self._parts.start()
            if await self._started(process):
                if process.notice and not process.is_gunicorn:
                    logger.warning("%s", process.notice)
                self._announce()
                if self._settings.reload:
                    self._spawn(self._parts.reloader.run())
                await self._stop.wait()
        finally:
            await self._shut_down()

    async def _started(self, process: AppProcess) -> bool:
        """Return True when the app is ready, False when the server has to stop."""
        starting = asyncio.create_task(self._parts.app.run(process))
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if self._stop.is_set():
            starting.cancel()
            return False
        stopping.cancel()
        try:
            await starting
        except AppUnavailable as error:
            config = self._parts.reloader.config
            if not is_static_site(config.static_handlers, config.folder):
                raise
            logger.warning(
                "the server has only static files, because there is no app: %s",
                str(error).partition("\n")[0],
            )
        return True

    def _announce(self) -> None:
        settings = self._settings
        url = f"http://127.0.0.1:{port_of(settings.front_sockets[0])}"
        storage = settings.storage
        terminal.show_banner(
            self._parts.reloader.application,
            app_url=url,
            state_url=f"http://127.0.0.1:{port_of(settings.state_socket)}",
            token=self._parts.token,
            grpc=f"127.0.0.1:{settings.launch.grpc_port}",
            cloud_tasks=settings.cloud_tasks,
            storage=str(storage.path.resolve()) if storage else "in memory",
            cron=settings.cron,
            other_urls=sockets.other_urls(settings.front_sockets),
        )
        if settings.open_browser:
            # in a thread: a browser in the terminal would block the loop
            threading.Thread(target=_open_browser, args=(url,), daemon=True).start()

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
    settings: Settings, application: Application, python: Python, process: AppProcess
) -> None:
    """Serve an app whose first process was just started, on `python`.

    Raises:
        ConfigError: a file that the services share cannot be used.
        AppUnavailable: the app died while it started.
    """
    complete = with_shared_files(application)
    # the others were logged before the app started
    for warning in complete.warnings[len(application.warnings) :]:
        logger.warning("%s", warning)
    server = Server(settings, complete, python)
    await server.run(process)


def _open_browser(url: str) -> None:
    if not webbrowser.open(url):
        logger.warning("no browser was found to open %s", url)
