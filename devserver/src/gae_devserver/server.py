"""Put the parts of the dev server together, run them, and take them down again."""

import asyncio
import dataclasses
import logging
import os
import secrets
import signal
import socket
import threading
import webbrowser
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from gae_devserver import terminal
from gae_devserver.app import advice, supervisor
from gae_devserver.app.client import AppClient
from gae_devserver.app.hints import Hints
from gae_devserver.app.process import AppProcess
from gae_devserver.clock import Clock
from gae_devserver.config.app_yaml import AppConfig, load_app_yaml
from gae_devserver.config.parsing import ConfigError
from gae_devserver.config.queue_yaml import load_queue_yaml
from gae_devserver.console.state_api import StateApi
from gae_devserver.datastore_v1.server import DatastoreV1
from gae_devserver.faults import Faults
from gae_devserver.http import sockets
from gae_devserver.http.app_sender import AppSender
from gae_devserver.http.front import Front
from gae_devserver.http.running_requests import RunningRequests
from gae_devserver.services.api_server import ApiServer
from gae_devserver.services.services import Services
from gae_devserver.storage.storage import Storage
from gae_devserver.tasks.execution import DEADLINE, Dispatch
from gae_devserver.tasks.runner import TaskRunner

logger = logging.getLogger("gae_devserver")

_PARENT_POLL_SECONDS = 0.3
# the app may take two of the three seconds in which the server promises to be gone
_SHUTDOWN_SECONDS = 2.6


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is fixed for one run of the server."""

    project: str
    version: str
    parent: int
    """The process that started the server; the server ends with it."""
    front_sockets: tuple[socket.socket, ...]
    api_socket: socket.socket
    state_socket: socket.socket
    datastore_socket: socket.socket
    """Holds the port of the datastore for Cloud NDB, which listens with another."""
    reload: bool
    open_browser: bool
    storage: Storage | None = None
    faults: Faults | None = None
    task_deadline: float = DEADLINE
    """Seconds that the app may take for one task."""
    hints: Hints = dataclasses.field(default_factory=Hints)

    @property
    def port(self) -> int:
        """The public port."""
        return _port(self.front_sockets[0])

    @property
    def datastore_port(self) -> int:
        """The port of the datastore for Cloud NDB."""
        return _port(self.datastore_socket)

    def start_app(self, config: AppConfig) -> AppProcess:
        """Start a process of the app."""
        return AppProcess(
            config,
            project=self.project,
            version=self.version,
            api_port=_port(self.api_socket),
            datastore_port=self.datastore_port,
        )


class Server:
    """The dev server with one app."""

    def __init__(self, settings: Settings, config: AppConfig) -> None:
        """Make the parts; to be called in the event loop."""
        self._settings = settings
        self._config = config
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        hostname = f"localhost:{settings.port}"
        clock, requests = Clock(), RunningRequests()
        self._client = AppClient()
        sender = AppSender(self._client, requests, hostname=hostname)
        self._app = supervisor.Supervisor(
            lambda: settings.start_app(self._config),
            lambda reason, reloading: advice.what_to_do(
                reason, self._config, settings.hints, reloading=reloading
            ),
        )
        self._front = Front(config, self._app, sender)
        self._warm_up = sender.warm_up
        if config.warmup:
            self._app.warm_up = self._warm_up
        self._services = Services(
            config,
            settings.project,
            requests,
            clock,
            default_hostname=hostname,
            version=settings.version,
            storage=settings.storage,
        )
        self._datastore_v1 = DatastoreV1(
            self._services.datastore,
            self._services.app_id,
            storage=settings.storage,
            before_answer=self._before_answer,
        )
        self._services.when_cleared = self._datastore_v1.clear
        self._token = secrets.token_hex(16)
        self._api = ApiServer(
            self._services, requests, config.app_engine_apis, self._token
        )
        dispatch: Dispatch = self._front.dispatch_task
        if (faults := settings.faults) is not None:
            logger.warning("the server injects faults: --faults %s", faults)
            faults.in_api_calls(self._services)
            dispatch = faults.in_tasks(dispatch, self._app.process)
        self._runner = TaskRunner(
            *(self._services.taskqueue, clock, dispatch, self._app.process),
            deadline=settings.task_deadline,
        )
        self._state = StateApi(self._services, self._runner, clock, self._token)

    def _before_answer(self, rpc: str) -> None:
        """Store what an RPC of Cloud NDB has changed; then its answer may get lost."""
        self._services.flush()
        if self._settings.faults is not None:
            self._settings.faults.in_rpc(rpc)

    async def run(self, process: AppProcess) -> None:
        """Serve until a signal comes or the parent has ended.

        Raises:
            AppUnavailable: the app has died while it started.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop.set)
        self._spawn(self._stop_with_parent())
        try:
            await self._datastore_v1.start(self._settings.datastore_port, reserved=True)
            await self._api.start(self._settings.api_socket)
            await self._front.start(*self._settings.front_sockets)
            await self._state.start(self._settings.state_socket)
            self._runner.start()
            if await self._started(process):
                if process.notice and not process.is_gunicorn:
                    logger.warning("%s", process.notice)
                self._announce()
                if self._settings.reload:
                    self._spawn(self._reload())
                await self._stop.wait()
        finally:
            await self._shut_down()

    async def _started(self, process: AppProcess) -> bool:
        """Wait until the app is ready, or until the server is to stop."""
        starting = asyncio.create_task(self._app.run(process))
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if self._stop.is_set():
            starting.cancel()
            return False
        stopping.cancel()
        await starting
        return True

    def _announce(self) -> None:
        url = f"http://127.0.0.1:{self._settings.port}"
        state_url = f"http://127.0.0.1:{_port(self._settings.state_socket)}"
        datastore = f"127.0.0.1:{self._settings.datastore_port}"
        storage = self._settings.storage
        where = str(storage.path.resolve()) if storage else "in memory"
        terminal.show_banner(
            *(self._config, url, state_url, self._token, datastore, where),
            sockets.other_urls(self._settings.front_sockets),
        )
        if self._settings.open_browser:
            # a browser in the terminal would hold up the loop
            threading.Thread(target=_open_browser, args=(url,), daemon=True).start()

    async def _stop_with_parent(self) -> None:
        # looked at again and again: no event tells of a parent's end
        while os.getppid() == self._settings.parent:  # noqa: ASYNC110
            await asyncio.sleep(_PARENT_POLL_SECONDS)
        logger.info("the process that started the server has ended; stopping")
        self._stop.set()

    async def _reload(self) -> None:
        try:
            async for paths in supervisor.changes(self._config.folder):
                self._take_over(paths)
        except (OSError, RuntimeError) as error:
            # for example: too many folders for the system to watch
            logger.warning(
                "the server cannot watch the app's files: %s. Restart the server after "
                "each edit",
                error,
            )

    def _take_over(self, paths: set[Path]) -> None:
        """Read the changed configuration, and restart the app if it is concerned."""
        folder = self._config.folder.resolve()
        new_app, new_queues = (
            folder / "app.yaml" in paths,
            folder / "queue.yaml" in paths,
        )
        config = self._config
        try:
            # both before either is taken over
            if new_app:
                changed = load_app_yaml(config.folder)
                config = dataclasses.replace(changed, queues=config.queues)
            if new_queues:
                queues = load_queue_yaml(config.folder)
                config = dataclasses.replace(config, queues=queues)
        except ConfigError as error:
            logger.error("the previous settings stay in effect: %s", error)
            return
        self._config = config
        self._front.apply(config)
        if new_app:
            self._api.app_engine_apis = config.app_engine_apis
            self._app.warm_up = self._warm_up if config.warmup else None
            terminal.log_warnings(config)
        if new_queues:
            self._services.update_queues(config.queues)
            names = ", ".join(queue.name for queue in config.queues)
            is_there = (config.folder / "queue.yaml").exists()
            event = "read again" if is_there else "removed"
            logger.info("queue.yaml was %s. The queues are now: %s", event, names)
        files = sorted(paths - {folder / "queue.yaml"})
        if files:
            # an editor's temporary files are gone by now, and say nothing
            files = [file for file in files if file.exists()] or files
            more = f" and {len(files) - 1} more" if len(files) > 1 else ""
            logger.info("%s%s changed: restarting the app", files[0].name, more)
            if folder / "requirements.txt" in paths:
                logger.warning(
                    "the server installs no packages while it runs. If "
                    "requirements.txt has new ones, restart the server"
                )
            self._app.restart()

    async def _shut_down(self) -> None:
        """End everything; the app's process gets most of the time."""
        for task in self._tasks:
            task.cancel()
        try:
            async with asyncio.timeout(_SHUTDOWN_SECONDS):
                await asyncio.gather(
                    *(self._app.stop(), self._front.stop(), self._runner.stop()),
                    return_exceptions=True,
                )
                await self._client.close()
                await asyncio.gather(
                    self._api.stop(), self._state.stop(), self._datastore_v1.stop()
                )
        except TimeoutError:
            logger.debug("the shutdown was cut short")
        self._services.close()
        # one more Ctrl-C must not break into the rest
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def run(settings: Settings, config: AppConfig, process: AppProcess) -> None:
    """Serve an app whose first process has just been started.

    Raises:
        ConfigError: queue.yaml cannot be used.
        AppUnavailable: the app has died while it started.
    """
    queues = load_queue_yaml(config.folder)
    server = Server(settings, dataclasses.replace(config, queues=queues))
    await server.run(process)


def _open_browser(url: str) -> None:
    if not webbrowser.open(url):
        logger.warning("no browser was found to open %s", url)


def _port(sock: socket.socket) -> int:
    port: int = sock.getsockname()[1]
    return port
