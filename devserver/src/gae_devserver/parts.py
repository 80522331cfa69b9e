"""The parts of the dev server, and how they are connected."""

import asyncio
import dataclasses
import functools
import logging
import socket
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from gae_devserver.activity.activity import Activity
from gae_devserver.app.advice.hints import Hints
from gae_devserver.app.client import Request
from gae_devserver.app.process import STOP_SECONDS, AppProcess, LaunchSettings
from gae_devserver.app.snapshot import Snapshot
from gae_devserver.app.supervisors import Supervisors
from gae_devserver.app_service import AppService
from gae_devserver.blobs.images import ImagePage
from gae_devserver.blobs.serving import BlobSender
from gae_devserver.blobs.upload import UploadPage
from gae_devserver.clock import Clock
from gae_devserver.cloud_tasks.http_targets import HttpTargets
from gae_devserver.cloud_tasks.requests import make_request
from gae_devserver.config.application import Application
from gae_devserver.console.frame.link import ConsoleLink
from gae_devserver.cron.jobs import CronJobs
from gae_devserver.datastore.needed_indexes import WhenMissing
from gae_devserver.faults import Faults
from gae_devserver.http.front import FindSite, Front, Page
from gae_devserver.http.on_demand import OnDemand
from gae_devserver.http.own_fetches import OwnFetches
from gae_devserver.http.routing import Routing
from gae_devserver.http.running_requests import RunningRequests
from gae_devserver.http.server import HttpServer
from gae_devserver.http.site import Site
from gae_devserver.launch import Launched
from gae_devserver.mail import inbound
from gae_devserver.mail.inbound import InboundMail
from gae_devserver.mail.smtp_server import SmtpServer
from gae_devserver.reloader import Reloader
from gae_devserver.services.apis import Apis
from gae_devserver.services.request_info import RunningService
from gae_devserver.storage.storage import Storage
from gae_devserver.tasks.execution import NO_DEADLINE, Dispatch
from gae_devserver.tasks.queues import Queue
from gae_devserver.tasks.runner import TaskRunner
from gae_devserver.users.sessions import Sessions
from gae_devserver.users.sign_in import SignIn

logger = logging.getLogger("gae_devserver")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is fixed for one run of the server."""

    launch: LaunchSettings
    """What the processes of all services have in common."""
    targets: Sequence[Path]
    """What the user named: services, and files that they share."""
    parent: int
    """The process that started the server; the server ends with it."""
    front_sockets: tuple[socket.socket, ...]
    api_socket: socket.socket
    grpc_socket: socket.socket
    state_socket: socket.socket
    token: str
    """What changes through the State API require."""
    reload: bool
    open_browser: bool
    snapshot: Snapshot | None
    """The files before the services started; None: they do not restart."""
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
    task_deadline: float | None = None
    """Seconds that the app may take for one task; None: App Engine's limit."""
    hints: Hints = dataclasses.field(default_factory=Hints)
    shutdown_seconds: float = STOP_SECONDS + 0.6
    """The limit for the shutdown; the README promises three seconds for all."""
    parent_poll_seconds: float = 0.3


class Parts:
    """Every part of the server, connected to those that it needs."""

    def __init__(
        self, settings: Settings, application: Application, launched: Sequence[Launched]
    ) -> None:
        """Make the parts, in the event loop that runs them.

        `launched` are the services of the app, in the same order.
        """
        self._settings = settings
        port = port_of(settings.front_sockets[0])
        hostname = f"localhost:{port}"
        clock = settings.clock
        self.activity = Activity(clock.now)
        requests = RunningRequests(application.main.service, self.activity)
        loop = asyncio.get_running_loop()
        settings.launch.log.attach(self.activity, requests.__contains__, loop)
        requests.on_end(settings.launch.log.end)
        sessions = Sessions(port, settings.storage)
        blobs = BlobSender(self._blobstore)
        own_ports = [sock for service in launched for sock in service.sockets]
        own_fetches = OwnFetches(
            settings.launch.project, [*settings.front_sockets, *own_ports]
        )
        self.services: Mapping[str, AppService] = {
            service.config.service: AppService(
                service,
                requests,
                sessions,
                public_hostname=hostname,
                send_blob=blobs.replace,
                inbound_headers=own_fetches.inbound_headers,
                hints=settings.hints,
                task_deadline=settings.task_deadline,
                reload=settings.reload,
                debug=settings.launch.terminal is not None,
                on_change=self._service_changed,
            )
            for service in launched
        }
        self._requests = requests
        self._main = self.services[application.main.service]
        self._routing = Routing(
            {name: service.version for name, service in self.services.items()},
            self._main.name,
            application.dispatch,
            settings.launch.project,
        )
        self._http_targets = HttpTargets(settings.http_target_hosts)
        dispatch: Dispatch = self._dispatch
        injected: dict[str, Any] = {}
        if (faults := settings.faults) is not None:
            logger.warning("the server injects faults: --faults %s", faults)
            dispatch = faults.in_tasks(dispatch, self._process_for)
            injected = {"around_call": faults.in_api_calls, "after_rpc": faults.in_rpc}
        self.apis = Apis(
            application,
            {
                name: RunningService.of(
                    service.config, service.version, service.hostname
                )
                for name, service in self.services.items()
            },
            launched[0].settings,
            clock,
            requests,
            self._routing,
            token=settings.token,
            default_hostname=hostname,
            run_now=self._run_now,
            storage=settings.storage,
            cloud_tasks=settings.cloud_tasks,
            smtp=settings.smtp,
            start_thread=self._start_background_thread,
            find_pid=self._find_pid,
            own_fetches=own_fetches,
            when_index_missing=settings.when_index_missing,
            when_cleared=sessions.clear,
            **injected,
        )
        services = self.apis.services
        pages: dict[str, Page] = {
            **SignIn(sessions).pages(),
            "/_ah/img": ImagePage(self._blobstore, blobs),
            "/_ah/upload": UploadPage(self._blobstore),
        }
        make_front = functools.partial(Front, pages=pages, records=self.activity)
        front = make_front(self._find_site, is_host=self._routing.is_host)
        if len(self.services) == 1 and application.files.dispatch is None:
            front = make_front(self._always(self._main.site))
        self._fronts = [(front, settings.front_sockets)]
        for service in self.services.values():
            if service.sockets:
                front = make_front(self._always(service.site))
                self._fronts.append((front, service.sockets))
        apps = Supervisors({name: s.app for name, s in self.services.items()})
        self._cron = CronJobs(
            application.cron_jobs,
            clock,
            services.taskqueue.changed,
            self._routing,
            apps,
            scheduled=settings.cron,
        )
        self._runner = TaskRunner(
            services.taskqueue,
            clock,
            dispatch,
            apps,
            deadline_of=lambda service: self.services[service].task_deadline,
            make_request=functools.partial(make_request, self.apis.identity),
            other_queues=(self._cron.queue,),
            on_run=self._cron.ended,
            records=self.activity,
        )
        self.console_link = ConsoleLink(settings.token)
        self._state = OnDemand(
            settings.state_socket,
            functools.partial(self._state_api, sessions, port),
        )
        self.reloader = Reloader(
            application,
            settings.targets,
            self.services,
            # the routing first: the others ask it
            parts=(self._routing, self.apis, self._cron),
            since=settings.snapshot,
        )

    def _state_api(self, sessions: Sessions, app_port: int) -> HttpServer:
        """Return the State API with the console, which the app does not wait for.

        The other ports may be closed by then.
        """
        from gae_devserver.console.reset import Reset
        from gae_devserver.console.services import Addresses
        from gae_devserver.console.state_api import StateApi
        from gae_devserver.console.subjects import all_subjects

        settings, services = self._settings, self.apis.services
        launch, clock, storage = settings.launch, settings.clock, settings.storage
        reset = Reset(
            services,
            self._runner,
            self._cron,
            clock,
            self._requests,
            self._restart_alone,
            several=len(self.services) > 1,
        )
        addresses = Addresses(
            project=launch.project,
            app_port=app_port,
            state_port=port_of(settings.state_socket),
            grpc_port=launch.grpc_port,
            cloud_tasks=settings.cloud_tasks,
            storage=storage.path if storage else None,
        )
        subjects = all_subjects(
            services,
            self.apis.databases,
            self._runner,
            self._cron,
            clock,
            self.activity,
            reset=reset,
            link=self.console_link,
            inbound=InboundMail(lambda: self._main.config, self._deliver_mail),
            sessions=sessions,
            running=self.services,
            addresses=addresses,
        )
        return StateApi(subjects, clock, settings.token, services.flush)

    def _service_changed(self) -> None:
        # the services start after all parts are made
        self._runner.wake()

    def _blobstore(self) -> Any:
        return self.apis.services.stub("blobstore")

    def _find_site(self, host: str, path: str) -> Site:
        return self.services[self._routing.for_request(host, path)].site

    @staticmethod
    def _always(site: Site) -> FindSite:
        return lambda host, path: site

    def _start_background_thread(self, ticket: str) -> str:
        service = self.services[self._requests.service(ticket)]
        return service.instance.start_background_thread(ticket)

    def _find_pid(self, ticket: str) -> int | None:
        service = self.services[self._requests.service(ticket)]
        return service.app.pid

    async def _process_for(self, task: Request) -> AppProcess:
        return await self.services.get(task.service, self._main).app.process()

    async def _dispatch(self, task: Request, deadline: float) -> int:
        """Send a task to its service, or to its HTTP target."""
        if task.service:
            if self._settings.launch.terminal is not None:
                deadline = NO_DEADLINE  # also for a task with one of its own
            return await self.services[task.service].tasks.send(task, deadline)
        return await self._http_targets.dispatch(task, deadline)

    async def _deliver_mail(self, request: Request) -> int:
        # dispatch.yaml is not for App Engine's own requests
        main, ip = self._main, inbound.IP
        status = await main.send(request, ip=ip, deadline=inbound.DEADLINE)
        logger.info("%sPOST %s %d", main.label, request.target, status)
        return status

    async def _run_now(self, queue: Queue, name: str) -> Any:
        # the runner needs the queues, so it is made after the APIs
        return await self._runner.run_now(queue, name)

    async def _restart_alone(self, names: Collection[str]) -> None:
        services = [self.services[name] for name in names]
        await asyncio.gather(*(service.app.restart_alone() for service in services))

    async def start(self) -> None:
        """Serve all ports, and run tasks when the app is there."""
        await self.apis.start(self._settings.api_socket, self._settings.grpc_socket)
        for front, sockets in self._fronts:
            await front.start(*sockets)
        self._state.start()
        self._runner.start()

    async def stop(self) -> None:
        """End the services and close all ports; the services get most of the time."""
        services = self.services.values()
        try:
            async with asyncio.timeout(self._settings.shutdown_seconds):
                await asyncio.gather(*(service.instance.stop() for service in services))
                await asyncio.gather(
                    *(service.app.stop() for service in services),
                    self._stop_requests(),
                    return_exceptions=True,
                )
                await self._http_targets.close()
                await asyncio.gather(self.apis.stop(), self._state.stop())
        except TimeoutError:
            logger.debug("the shutdown was cut short")
        self.apis.services.close()

    async def _stop_requests(self) -> None:
        """End the requests, then the connections: gunicorn waits for idle ones too."""
        await asyncio.gather(
            *(front.stop() for front, _ in self._fronts),
            self._runner.stop(),
            return_exceptions=True,
        )
        services = self.services.values()
        await asyncio.gather(*(service.close() for service in services))


def port_of(sock: socket.socket) -> int:
    """Return the port of a listening socket."""
    return sock.getsockname()[1]
