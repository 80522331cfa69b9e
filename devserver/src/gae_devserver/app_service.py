"""One service of the app: its process, and what sends requests to it."""

import asyncio
from collections.abc import Callable

from gae_devserver.app.advice import failed_start
from gae_devserver.app.advice.hints import Hints
from gae_devserver.app.advice.installation import Installation
from gae_devserver.app.client import AppClient, Request
from gae_devserver.app.process import AppProcess
from gae_devserver.app.python import Python
from gae_devserver.app.supervisor import Supervisor
from gae_devserver.config.app_yaml import AppConfig
from gae_devserver.config.handlers import is_static_site
from gae_devserver.environments.environments import AppPackagesError
from gae_devserver.http.app_sender import AppSender
from gae_devserver.http.running_requests import RunningRequests
from gae_devserver.http.site import InboundHeaders, SendBlob, Site
from gae_devserver.http.task_sender import TaskSender
from gae_devserver.instances.instance import Instance
from gae_devserver.launch import Launched
from gae_devserver.tasks import execution
from gae_devserver.users.login_rules import LoginRules
from gae_devserver.users.sessions import Sessions


class AppService:
    """A service, connected to what all services share."""

    def __init__(
        self,
        launched: Launched,
        requests: RunningRequests,
        sessions: Sessions,
        *,
        public_hostname: str,
        send_blob: SendBlob,
        inbound_headers: InboundHeaders,
        hints: Hints,
        task_deadline: float | None,
        reload: bool,
        debug: bool,
        on_change: Callable[[], object],
    ) -> None:
        """Make it; `run` then takes its first process.

        Args:
            launched: the service.
            requests: the running requests of all services.
            sessions: the users who are signed in.
            public_hostname: "host:port" of the public port.
            send_blob: sends a blob in place of an answer.
            inbound_headers: says what App Engine adds to a request from outside.
            hints: how to install what the app lacks.
            task_deadline: seconds that it may take for a task; None: App Engine's
                limit.
            reload: whether an edit restarts it.
            debug: whether it may stop at a prompt for as long as it likes.
            on_change: called when it becomes ready, and when it no longer is.
        """
        config = launched.config
        is_only = not launched.sockets
        name = "app" if is_only else f"service {config.service}"
        self.name = config.service
        self._name = name
        self.version = launched.settings.version
        self.sockets = launched.sockets
        self.label = launched.label
        self.hostname = public_hostname
        if launched.sockets:
            self.hostname = f"localhost:{launched.sockets[0].getsockname()[1]}"
        self.task_deadline = task_deadline or execution.deadline(config.scaling)
        if debug:
            self.task_deadline = execution.NO_DEADLINE
        self._debug = debug
        self._config = config
        self._launch = launched.settings
        self._python = launched.python
        self._first = launched.process
        self._environments = launched.environments
        self._hints = hints
        # the only service ends the server if it does not start
        self._outlives_failure = reload and not is_only
        self._client = AppClient()
        self.sender = AppSender(
            self._client,
            requests,
            hostname=self.hostname,
            service=config.service,
            default_hostname=public_hostname,
            label=self.label,
        )
        self.app = Supervisor(
            self._start,
            what_to_do=self._what_to_do,
            warm_up=self._warm_up,
            name=name,
            is_optional=lambda: self.is_static_site,
            # two would read the terminal, or listen for one debugger
            one_at_a_time=debug,
            on_change=on_change,
        )
        self.instance = Instance(config, self.sender, requests, label=self.label)
        self._access = LoginRules(config, sessions, label=self.label)
        self.tasks = TaskSender(
            self.app,
            self.sender,
            deadline=self.task_deadline,
            refusal=self._access.refusal_of_task,
            name=name,
        )
        self.site = Site(
            config,
            self.app,
            self.sender,
            send_blob=send_blob,
            inbound_headers=inbound_headers,
            access=self._access,
            label=self.label,
        )

    @property
    def config(self) -> AppConfig:
        """The settings in effect."""
        return self._config

    @property
    def started(self) -> float:
        """When its process became ready; infinite if it still starts."""
        return self.app.started

    @property
    def is_static_site(self) -> bool:
        """Whether it is of use without its process."""
        return is_static_site(self._config.static_handlers, self._config.folder)

    def describe(self, *, reloading: bool) -> str:
        """Return its address and its name, and why it does not run."""
        state = "" if self.app.is_ready else ", which is starting"
        if self.app.failure is not None:
            until = " until one of its files changes" if reloading else ""
            state = f", which does not run{until}"
            if self.is_static_site:
                state = ", only static files"
        port = self.hostname.rpartition(":")[2]
        name, runtime = self._config.service, self._config.runtime
        return f"http://127.0.0.1:{port}  {name} ({runtime}){state}"

    def late_notice(self) -> str | None:
        """Return a warning about the port of an app that is ready, or None."""
        process = self._first
        if process is None or process.is_gunicorn or not self.app.is_ready:
            return None  # the warning about a gunicorn came before
        return process.notice

    def apply(self, config: AppConfig) -> None:
        """Use changed settings; the process gets those of its environment later."""
        self._config = config
        self._access.apply(config)
        self.site.apply(config)

    async def run(self) -> None:
        """Supervise the first process; return when it is ready.

        Raises:
            AppUnavailable: it has died.
        """
        await self.app.run(self._first)

    async def restart(self) -> None:
        """Start a new process, with the packages that the app now asks for.

        Raises:
            AppPackagesError: they cannot be installed. The app keeps those that it has.
        """
        try:
            # in a thread: it may install packages, while the app still answers
            self._python = await asyncio.to_thread(
                self._environments.python, self._config
            )
        except AppPackagesError as error:
            if isinstance(self._python, Python):
                raise
            self._python = error
        finally:
            self.app.restart()

    async def send(self, request: Request, *, ip: str, deadline: float | None) -> int:
        """Send a request of the server's own; return the status of the answer.

        Raises:
            AppUnavailable: the app is not running; nothing was sent.
            ConnectionError: the connection broke.
            TimeoutError: there was no answer within `deadline` seconds.
        """
        deadline = None if self._debug else deadline
        return await self.sender.status_of(
            self.app.process, request, ip=ip, deadline=deadline
        )

    async def close(self) -> None:
        """Close the connections to the process."""
        await self._client.close()

    def _start(self) -> AppProcess:
        if isinstance(self._python, AppPackagesError):
            raise AppPackagesError(f"The {self._name} cannot start: {self._python}")
        return AppProcess(self._config, self._launch, self._python, label=self.label)

    def _what_to_do(self, reason: str, reloading: bool) -> str:
        assert isinstance(self._python, Python)
        installation = Installation(
            self._config.folder,
            self._python,
            server_installs=self._environments.installs,
            reloading=reloading or self._outlives_failure,
        )
        return failed_start.what_to_do(reason, self._config, installation, self._hints)

    async def _warm_up(self, process: AppProcess) -> None:
        if self._config.scaling != "automatic":
            await self.instance.start(process)
        elif "warmup" in self._config.inbound_services:
            await self.sender.warm_up(process, within_deadline=not self._debug)
