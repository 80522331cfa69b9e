"""Runs one program in the foreground, with the app's services but without the app."""

import asyncio
import contextlib
import dataclasses
import logging
import secrets
import signal
import socket

from gae_devserver.app.process import STOP_SECONDS, LaunchSettings, environment
from gae_devserver.app.python import Python
from gae_devserver.app.supervisor import AppUnavailable
from gae_devserver.clock import Clock
from gae_devserver.config.app_yaml import AppConfig
from gae_devserver.config.application import Application
from gae_devserver.datastore.needed_indexes import WhenMissing
from gae_devserver.http.routing import Routing
from gae_devserver.http.running_requests import RunningRequests
from gae_devserver.services.apis import Apis
from gae_devserver.services.request_info import RunningService
from gae_devserver.services.services import Services
from gae_devserver.shell.programs import Program
from gae_devserver.storage.storage import Storage
from gae_devserver.tasks.queues import Queue

logger = logging.getLogger("gae_devserver")

# where `gae-devserver APP` serves the app; the SDK makes URLs of it
_PORT = 8080
_HOSTNAME = f"localhost:{_PORT}"


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is fixed for one program."""

    launch: LaunchSettings
    python: Python
    """The app's Python."""
    api_socket: socket.socket
    grpc_socket: socket.socket
    clock: Clock
    """The time of the services, by which the storage counts too."""
    storage: Storage | None = None
    when_index_missing: WhenMissing = "report"
    """What to do about a query that index.yaml does not serve."""
    stop_seconds: float = STOP_SECONDS
    """How long the program may take to end after SIGTERM; then it gets SIGKILL."""


async def run(settings: Settings, application: Application, program: Program) -> int:
    """Run a program as one long request; return its exit status as a shell does.

    It has the terminal: a Ctrl-C is for the program alone.

    Raises:
        OSError: it cannot be started.
        StorageError: the stored entities or tasks cannot be read.
    """
    # the terminal sends it to the program too, which decides what it means
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, lambda: None)
    launch, storage = settings.launch, settings.storage
    main = application.main
    requests = RunningRequests(main.service)
    running = {
        config.service: RunningService.of(
            config,
            launch.version,
            _HOSTNAME if config is main else f"{config.service}.{_HOSTNAME}",
        )
        for config in application.services
    }
    versions = application.versions.items()
    routing = Routing(
        {name: version or launch.version for name, version in versions},
        application.main.service,
        application.dispatch,
        launch.project,
    )
    apis = Apis(
        application,
        running,
        launch,
        settings.clock,
        requests,
        routing,
        # required, but nothing else calls this server
        token=secrets.token_hex(16),
        default_hostname=_HOSTNAME,
        run_now=_run_now,
        storage=storage,
        when_index_missing=settings.when_index_missing,
    )
    ticket = requests.begin(url="")
    try:
        await apis.start(settings.api_socket, settings.grpc_socket)
        process = await asyncio.create_subprocess_exec(
            settings.python.executable,
            *program.arguments,
            cwd=program.folder,
            env=_environment(settings, main, ticket),
        )
        status = await _end_of(process, settings.stop_seconds)
    finally:
        # rolls back the transaction that the program has left open
        requests.end(ticket)
        await apis.stop()
        apis.services.close()
    if storage is None:
        _report_lost_tasks(apis.services)
    return status if status >= 0 else 128 - status


def _environment(settings: Settings, config: AppConfig, ticket: str) -> dict[str, str]:
    """Return the app's environment, and what the SDK adds to it in a request."""
    request = {"AUTH_DOMAIN": "gmail.com", "DEFAULT_VERSION_HOSTNAME": _HOSTNAME}
    return {
        **environment(config, settings.launch, settings.python, port=_PORT),
        **request,
        # the SDK reads these if it keeps the request in context variables
        **{f"HTTP_X_APPENGINE_{name}": value for name, value in request.items()},
        "HTTP_HOST": _HOSTNAME,
        "HTTP_X_APPENGINE_API_TICKET": ticket,
    }


async def _end_of(process: asyncio.subprocess.Process, stop_seconds: float) -> int:
    """Wait for the program; end it when a signal asks this process to end."""
    loop = asyncio.get_running_loop()

    def kill() -> None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()

    def terminate() -> None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        loop.call_later(stop_seconds, kill)

    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, terminate)
    return await process.wait()


async def _run_now(queue: Queue, name: str) -> None:
    raise AppUnavailable("Only 'gae-devserver APP' runs tasks.")


def _report_lost_tasks(services: Services) -> None:
    queues = services.taskqueue.queues().values()
    if lost := sum(queue.Count() for queue in queues):
        logger.warning(
            "%d %s lost, because only '%s' runs tasks. To keep tasks for it, use "
            "--storage DIR in both commands",
            lost,
            "task is" if lost == 1 else "tasks are",
            "gae-devserver APP",
        )
