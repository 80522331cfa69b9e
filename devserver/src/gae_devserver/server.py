"""Puts the parts of the dev server together, runs them and shuts them down."""

import asyncio
import dataclasses
import functools
import logging
import os
import secrets
import signal
import socket
import threading
import webbrowser
from collections.abc import Coroutine, Sequence
from typing import Any

from gae_devserver import terminal
from gae_devserver.app.advice import failed_start
from gae_devserver.app.advice.hints import Hints
from gae_devserver.app.advice.installation import Installation
from gae_devserver.app.client import AppClient, Request
from gae_devserver.app.process import STOP_SECONDS, AppProcess, LaunchSettings
from gae_devserver.app.python import Python
from gae_devserver.app.supervisor import AppUnavailable, Supervisor
from gae_devserver.blobs.images import ImagePage
from gae_devserver.blobs.serving import BlobSender
from gae_devserver.blobs.upload import UploadPage
from gae_devserver.clock import Clock
from gae_devserver.cloud_tasks.http_targets import HttpTargets
from gae_devserver.cloud_tasks.requests import make_request
from gae_devserver.config.app_yaml import AppConfig, with_other_files
from gae_devserver.config.handlers import is_static_site
from gae_devserver.console.mails import MailRoutes
from gae_devserver.console.reset import Reset
from gae_devserver.console.state_api import StateApi
from gae_devserver.cron.jobs import CronJobs
from gae_devserver.datastore.needed_indexes import WhenMissing
from gae_devserver.environments.environments import Environments
from gae_devserver.faults import Faults
from gae_devserver.http import sockets
from gae_devserver.http.app_sender import AppSender
from gae_devserver.http.front import Front
from gae_devserver.http.running_requests import RunningRequests
from gae_devserver.http.task_sender import TaskSender
from gae_devserver.instances.instance import Instance
from gae_devserver.mail import inbound
from gae_devserver.mail.inbound import InboundMail
from gae_devserver.mail.smtp_server import SmtpServer
from gae_devserver.reloader import Reloader
from gae_devserver.services.apis import Apis
from gae_devserver.storage.storage import Storage
from gae_devserver.tasks.execution import DEADLINE, Dispatch
from gae_devserver.tasks.queues import Queue
from gae_devserver.tasks.runner import TaskRunner
from gae_devserver.users.login_rules import LoginRules
from gae_devserver.users.sessions import Sessions
from gae_devserver.users.sign_in import SignIn

logger = logging.getLogger("gae_devserver")

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is fixed for one run of the server."""

    launch: LaunchSettings
    environments: Environments
    parent: int
    """The process that started the server; the server ends with it."""
    front_sockets: tuple[socket.socket, ...]
    api_socket: socket.socket
    state_socket: socket.socket
    reload: bool
    open_browser: bool
    clock: Clock
    """The time of the services, by which the storage counts too."""
    cron: bool = False
    """Whether jobs of cron.yaml run when they are due."""
    storage: Storage | None = None
    faults: Faults | None = None
    when_index_missing: WhenMissing = "report"
    """What to do about a query that index.yaml does not serve."""
    cloud_tasks: bool = True
    """Whether to serve the API of Cloud Tasks."""
    smtp: SmtpServer | None = None
    """Where the app's mail is sent; None: nowhere."""
    http_target_hosts: Sequence[str] = ()
    """Where HTTP targets may be besides this machine."""
    task_deadline: float = DEADLINE
    """Seconds that the app may take for one task."""
    hints: Hints = dataclasses.field(default_factory=Hints)
    shutdown_seconds: float = STOP_SECONDS + 0.6
    """The limit for the shutdown; the README promises three seconds for all."""
    parent_poll_seconds: float = 0.3


class Server:
    """The dev server with one app."""

    def __init__(self, settings: Settings, config: AppConfig, python: Python) -> None:
        """Make the parts, in the event loop that runs them."""
        self._settings = settings
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        hostname = f"localhost:{_port(settings.front_sockets[0])}"
        clock, requests = settings.clock, RunningRequests()
        self._client = AppClient()
        self._sender = AppSender(self._client, requests, hostname=hostname)
        self._app = Supervisor(
            lambda: AppProcess(
                self._reloader.config, settings.launch, self._reloader.python
            ),
            what_to_do=self._what_to_do,
            warm_up=self._warm_up,
        )
        self._instance = Instance(config, self._sender, requests)
        sessions = Sessions(_port(settings.front_sockets[0]), settings.storage)
        access = LoginRules(config, sessions)
        self._task_sender = TaskSender(
            self._app,
            self._sender,
            deadline=settings.task_deadline,
            refusal=access.refusal_of_task,
        )
        self._http_targets = HttpTargets(settings.http_target_hosts)
        dispatch: Dispatch = self._dispatch
        injected: dict[str, Any] = {}
        if (faults := settings.faults) is not None:
            logger.warning("the server injects faults: --faults %s", faults)
            dispatch = faults.in_tasks(dispatch, self._app.process)
            injected = {"around_call": faults.in_api_calls, "after_rpc": faults.in_rpc}
        self._token = secrets.token_hex(16)
        self._apis = Apis(
            config,
            settings.launch,
            clock,
            requests,
            token=self._token,
            default_hostname=hostname,
            run_now=self._run_now,
            storage=settings.storage,
            cloud_tasks=settings.cloud_tasks,
            smtp=settings.smtp,
            start_thread=self._instance.start_background_thread,
            when_index_missing=settings.when_index_missing,
            when_cleared=sessions.clear,
            **injected,
        )
        services = self._apis.services
        blobstore = functools.partial(services.stub, "blobstore")
        blobs = BlobSender(blobstore)
        self._front = Front(
            config,
            self._app,
            self._sender,
            pages={
                **SignIn(sessions).pages(),
                "/_ah/img": ImagePage(blobstore, blobs),
                "/_ah/upload": UploadPage(blobstore),
            },
            send_blob=blobs.replace,
            access=access,
        )
        self._cron = CronJobs(
            config.cron_jobs,
            clock,
            services.taskqueue.changed,
            self._app.process,
            scheduled=settings.cron,
        )
        self._runner = TaskRunner(
            services.taskqueue,
            clock,
            dispatch,
            self._app.process,
            deadline=settings.task_deadline,
            make_request=functools.partial(
                make_request, self._apis.identity, self._apis.routing
            ),
            other_queues=(self._cron.queue,),
            on_run=self._cron.ended,
        )
        reset = Reset(
            services,
            self._runner,
            self._cron,
            clock,
            requests,
            self._app.restart_alone,
        )
        self._inbound_mail = InboundMail(config, self._deliver_mail)
        mails = MailRoutes(lambda: services.stub("mail").sent, self._inbound_mail)
        self._state = StateApi(
            services,
            self._runner,
            self._cron,
            clock,
            self._token,
            reset,
            subjects=[mails],
        )
        self._reloader = Reloader(
            config,
            python,
            settings.environments,
            parts=(self._front, self._apis, self._cron, self._inbound_mail, access),
            restart=self._app.restart,
        )

    def _what_to_do(self, reason: str, reloading: bool) -> str:
        config = self._reloader.config
        installation = Installation(
            config.folder,
            self._reloader.python,
            server_installs=self._settings.environments.installs,
            reloading=reloading,
        )
        hints = self._settings.hints
        return failed_start.what_to_do(reason, config, installation, hints)

    async def _warm_up(self, process: AppProcess) -> None:
        if self._reloader.config.scaling != "automatic":
            await self._instance.start(process)
        elif "warmup" in self._reloader.config.inbound_services:
            await self._sender.warm_up(process)

    async def _dispatch(self, task: Request, deadline: float) -> int:
        """Send a task to the app, or to its HTTP target."""
        if task.target.startswith("/"):
            return await self._task_sender.send(task, deadline)
        return await self._http_targets.dispatch(task, deadline)

    async def _deliver_mail(self, request: Request) -> int:
        return await self._sender.status_of(
            self._app.process, request, ip=inbound.IP, deadline=inbound.DEADLINE
        )

    async def _run_now(self, queue: Queue, name: str) -> Any:
        # the runner needs the queues, so it is made after the APIs
        return await self._runner.run_now(queue, name)

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
            await self._apis.start(self._settings.api_socket)
            await self._front.start(*self._settings.front_sockets)
            await self._state.start(self._settings.state_socket)
            self._runner.start()
            if await self._started(process):
                if process.notice and not process.is_gunicorn:
                    logger.warning("%s", process.notice)
                self._announce()
                if self._settings.reload:
                    self._spawn(self._reloader.run())
                await self._stop.wait()
        finally:
            await self._shut_down()

    async def _started(self, process: AppProcess) -> bool:
        """Return True when the app is ready, False when the server has to stop."""
        starting = asyncio.create_task(self._app.run(process))
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if self._stop.is_set():
            starting.cancel()
            return False
        stopping.cancel()
        try:
            await starting
        except AppUnavailable as error:
            config = self._reloader.config
            if not is_static_site(config.static_handlers, config.folder):
                raise
            logger.warning(
                "the server has only static files, because there is no app: %s",
                str(error).partition("\n")[0],
            )
        return True

    def _announce(self) -> None:
        settings = self._settings
        url = f"http://127.0.0.1:{_port(settings.front_sockets[0])}"
        storage = settings.storage
        terminal.show_banner(
            self._reloader.config,
            app_url=url,
            state_url=f"http://127.0.0.1:{_port(settings.state_socket)}",
            token=self._token,
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
        """End everything; the app gets most of the time."""
        for task in self._tasks:
            task.cancel()
        try:
            async with asyncio.timeout(self._settings.shutdown_seconds):
                await self._instance.stop()
                await asyncio.gather(
                    self._app.stop(),
                    self._front.stop(),
                    self._runner.stop(),
                    return_exceptions=True,
                )
                await self._client.close()
                await self._http_targets.close()
                await asyncio.gather(self._apis.stop(), self._state.stop())
        except TimeoutError:
            logger.debug("the shutdown was cut short")
        self._apis.services.close()
        # ignore signals during the rest of the cleanup
        for number in _SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def run(
    settings: Settings, config: AppConfig, python: Python, process: AppProcess
) -> None:
    """Serve an app whose first process was just started, on `python`.

    Raises:
        ConfigError: queue.yaml, cron.yaml or index.yaml cannot be used.
        AppUnavailable: the app died while it started.
    """
    complete = with_other_files(config)
    # the others were logged before the app started
    for warning in complete.warnings[len(config.warnings) :]:
        logger.warning("%s", warning)
    server = Server(settings, complete, python)
    await server.run(process)


def _open_browser(url: str) -> None:
    if not webbrowser.open(url):
        logger.warning("no browser was found to open %s", url)


def _port(sock: socket.socket) -> int:
    return sock.getsockname()[1]
