"""The parts of the dev server with one app, and how they are connected."""

import asyncio
import dataclasses
import functools
import logging
import secrets
import socket
from collections.abc import Sequence
from typing import Any

from gae_devserver.app.advice import failed_start
from gae_devserver.app.advice.hints import Hints
from gae_devserver.app.advice.installation import Installation
from gae_devserver.app.client import AppClient, Request
from gae_devserver.app.process import STOP_SECONDS, AppProcess, LaunchSettings
from gae_devserver.app.python import Python
from gae_devserver.app.supervisor import Supervisor
from gae_devserver.app.supervisors import Supervisors
from gae_devserver.blobs.images import ImagePage
from gae_devserver.blobs.serving import BlobSender
from gae_devserver.blobs.upload import UploadPage
from gae_devserver.clock import Clock
from gae_devserver.cloud_tasks.http_targets import HttpTargets
from gae_devserver.cloud_tasks.requests import make_request
from gae_devserver.config.application import Application
from gae_devserver.console.mails import MailRoutes
from gae_devserver.console.reset import Reset
from gae_devserver.console.state_api import StateApi
from gae_devserver.cron.jobs import CronJobs
from gae_devserver.datastore.needed_indexes import WhenMissing
from gae_devserver.environments.environments import Environments
from gae_devserver.faults import Faults
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


class Parts:
    """Every part of the server, connected to those that it needs."""

    def __init__(
        self, settings: Settings, application: Application, python: Python
    ) -> None:
        """Make the parts, in the event loop that runs them."""
        config = application.main
        self._settings = settings
        hostname = f"localhost:{port_of(settings.front_sockets[0])}"
        clock, requests = settings.clock, RunningRequests()
        self._client = AppClient()
        self._sender = AppSender(self._client, requests, hostname=hostname)
        self.app = Supervisor(
            lambda: AppProcess(
                self.reloader.config, settings.launch, self.reloader.python
            ),
            what_to_do=self._what_to_do,
            warm_up=self._warm_up,
            on_change=self._wake_tasks,
        )
        self._instance = Instance(config, self._sender, requests)
        sessions = Sessions(port_of(settings.front_sockets[0]), settings.storage)
        access = LoginRules(config, sessions)
        self._task_sender = TaskSender(
            self.app,
            self._sender,
            deadline=settings.task_deadline,
            refusal=access.refusal_of_task,
        )
        self._http_targets = HttpTargets(settings.http_target_hosts)
        dispatch: Dispatch = self._dispatch
        injected: dict[str, Any] = {}
        if (faults := settings.faults) is not None:
            logger.warning("the server injects faults: --faults %s", faults)
            dispatch = faults.in_tasks(dispatch, self.app.process)
            injected = {"around_call": faults.in_api_calls, "after_rpc": faults.in_rpc}
        self.token = secrets.token_hex(16)
        self.apis = Apis(
            application,
            settings.launch,
            clock,
            requests,
            token=self.token,
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
        services = self.apis.services
        blobstore = functools.partial(services.stub, "blobstore")
        blobs = BlobSender(blobstore)
        self._front = Front(
            config,
            self.app,
            self._sender,
            pages={
                **SignIn(sessions).pages(),
                "/_ah/img": ImagePage(blobstore, blobs),
                "/_ah/upload": UploadPage(blobstore),
            },
            send_blob=blobs.replace,
            access=access,
        )
        apps = Supervisors({application.main.service: self.app})
        self._cron = CronJobs(
            application.cron_jobs,
            clock,
            services.taskqueue.changed,
            self.apis.routing,
            apps,
            scheduled=settings.cron,
        )
        self._runner = TaskRunner(
            services.taskqueue,
            clock,
            dispatch,
            apps,
            deadline_of=lambda service: settings.task_deadline,
            make_request=functools.partial(make_request, self.apis.identity),
            other_queues=(self._cron.queue,),
            on_run=self._cron.ended,
        )
        reset = Reset(
            services,
            self._runner,
            self._cron,
            clock,
            requests,
            self.app.restart_alone,
        )
        self._inbound_mail = InboundMail(config, self._deliver_mail)
        mails = MailRoutes(lambda: services.stub("mail").sent, self._inbound_mail)
        self._state = StateApi(
            services,
            self._runner,
            self._cron,
            clock,
            self.token,
            reset,
            subjects=[mails],
        )
        self.reloader = Reloader(
            application,
            python,
            settings.environments,
            service_parts=(self._front, self._inbound_mail, access),
            shared_parts=(self.apis, self._cron),
            restart=self.app.restart,
        )

    def _wake_tasks(self) -> None:
        # the app starts after all parts are made
        self._runner.wake()

    def _what_to_do(self, reason: str, reloading: bool) -> str:
        config = self.reloader.config
        installation = Installation(
            config.folder,
            self.reloader.python,
            server_installs=self._settings.environments.installs,
            reloading=reloading,
        )
        hints = self._settings.hints
        return failed_start.what_to_do(reason, config, installation, hints)

    async def _warm_up(self, process: AppProcess) -> None:
        if self.reloader.config.scaling != "automatic":
            await self._instance.start(process)
        elif "warmup" in self.reloader.config.inbound_services:
            await self._sender.warm_up(process)

    async def _dispatch(self, task: Request, deadline: float) -> int:
        """Send a task to the app, or to its HTTP target."""
        if task.service:
            return await self._task_sender.send(task, deadline)
        return await self._http_targets.dispatch(task, deadline)

    async def _deliver_mail(self, request: Request) -> int:
        return await self._sender.status_of(
            self.app.process, request, ip=inbound.IP, deadline=inbound.DEADLINE
        )

    async def _run_now(self, queue: Queue, name: str) -> Any:
        # the runner needs the queues, so it is made after the APIs
        return await self._runner.run_now(queue, name)

    async def start(self) -> None:
        """Serve all ports, and run tasks when the app is there."""
        await self.apis.start(self._settings.api_socket)
        await self._front.start(*self._settings.front_sockets)
        await self._state.start(self._settings.state_socket)
        self._runner.start()

    async def stop(self) -> None:
        """End the app and close all ports; the app gets most of the time."""
        try:
            async with asyncio.timeout(self._settings.shutdown_seconds):
                await self._instance.stop()
                await asyncio.gather(
                    self.app.stop(),
                    self._front.stop(),
                    self._runner.stop(),
                    return_exceptions=True,
                )
                await self._client.close()
                await self._http_targets.close()
                await asyncio.gather(self.apis.stop(), self._state.stop())
        except TimeoutError:
            logger.debug("the shutdown was cut short")
        self.apis.services.close()


def port_of(sock: socket.socket) -> int:
    """Return the port of a listening socket."""
    return sock.getsockname()[1]
