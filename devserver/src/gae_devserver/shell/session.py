"""Runs one program in the foreground, with the app's services but without the app."""

import asyncio
import contextlib
import dataclasses
import logging
import secrets
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

from gae_devserver.app.process import STOP_SECONDS, LaunchSettings, environment
from gae_devserver.clock import Clock
from gae_devserver.config.app_yaml import AppConfig
from gae_devserver.datastore_v1.server import DatastoreV1
from gae_devserver.http.running_requests import RunningRequests
from gae_devserver.services.api_server import ApiServer
from gae_devserver.services.services import Services
from gae_devserver.storage.storage import Storage

logger = logging.getLogger("gae_devserver")

# where `gae-devserver APP` serves the app; the SDK makes URLs of it
_PORT = 8080
_HOSTNAME = f"localhost:{_PORT}"


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is fixed for one program."""

    launch: LaunchSettings
    api_socket: socket.socket
    storage: Storage | None = None
    stop_seconds: float = STOP_SECONDS
    """How long the program may take to end after SIGTERM; then it gets SIGKILL."""


class Session:
    """The services of an app, for one program that runs as one long request."""

    def __init__(self, settings: Settings, config: AppConfig) -> None:
        """Make the parts, in the event loop that runs them."""
        self._settings = settings
        self._config = config
        launch, storage = settings.launch, settings.storage
        self._requests = RunningRequests()
        self._services = Services(
            config,
            launch.project,
            self._requests,
            Clock(),
            default_hostname=_HOSTNAME,
            version=launch.version,
            storage=storage,
        )
        self._datastore_v1 = DatastoreV1(
            self._services.datastore,
            self._services.app_id,
            storage=storage,
            before_answer=lambda rpc: self._services.flush(),
        )
        self._api = ApiServer(
            self._services.call,
            self._requests,
            config.app_engine_apis,
            token=secrets.token_hex(16),
        )

    async def run(self, command: Sequence[str], folder: Path | None = None) -> int:
        """Run a program to its end; return its exit status as a shell does.

        It has the terminal: a Ctrl-C is for the program alone. With `folder`, that is
        its current folder.

        Raises:
            OSError: it cannot be started.
        """
        ticket = self._requests.begin(url="")
        try:
            port = self._settings.launch.datastore_port
            await self._datastore_v1.start(port, reserved=True)
            await self._api.start(self._settings.api_socket)
            process = await asyncio.create_subprocess_exec(
                *command, cwd=folder, env=self._environment(ticket)
            )
            status = await self._end_of(process)
        finally:
            # rolls back the transaction that the program has left open
            self._requests.end(ticket)
            await asyncio.gather(self._api.stop(), self._datastore_v1.stop())
            self._report_tasks()
            self._services.close()
        return status if status >= 0 else 128 - status

    def _environment(self, ticket: str) -> dict[str, str]:
        """Return the app's environment and what the SDK adds to it in a request."""
        request = {"AUTH_DOMAIN": "gmail.com", "DEFAULT_VERSION_HOSTNAME": _HOSTNAME}
        return {
            **environment(self._config, self._settings.launch, port=_PORT),
            **request,
            # the SDK reads these if it keeps the request in context variables
            **{f"HTTP_X_APPENGINE_{name}": value for name, value in request.items()},
            "HTTP_HOST": _HOSTNAME,
            "HTTP_X_APPENGINE_API_TICKET": ticket,
        }

    async def _end_of(self, process: asyncio.subprocess.Process) -> int:
        """Wait for the program; end it when a signal asks this process to end."""
        loop = asyncio.get_running_loop()

        def kill() -> None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()

        def terminate() -> None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            loop.call_later(self._settings.stop_seconds, kill)

        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, terminate)
        # the terminal sends it to the program too, which decides what it means
        loop.add_signal_handler(signal.SIGINT, lambda: None)
        return await process.wait()

    def _report_tasks(self) -> None:
        if self._settings.storage is not None:
            return
        queues = self._services.taskqueue.queues().values()
        if lost := sum(queue.Count() for queue in queues):
            logger.warning(
                "%d %s lost: no app runs here. With --storage DIR, the next "
                "'gae-devserver --storage DIR' runs them",
                lost,
                "task was" if lost == 1 else "tasks were",
            )
