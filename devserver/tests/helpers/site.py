"""A front with a real app behind it, and a client that sees every byte."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from multidict import CIMultiDict

from gae_devserver.app.client import AppClient, Request
from gae_devserver.app.process import AppProcess
from gae_devserver.app.python import OWN
from gae_devserver.app.supervisor import Supervisor
from gae_devserver.config.app_yaml import load_app_yaml
from gae_devserver.http import site as http_site
from gae_devserver.http.app_sender import AppSender
from gae_devserver.http.front import Front
from gae_devserver.http.limits import DEFAULT_LIMITS, Limits
from gae_devserver.http.running_requests import RunningRequests
from gae_devserver.http.sockets import listen
from gae_devserver.http.task_sender import TaskSender
from gae_devserver.users.login_rules import LoginRules
from gae_devserver.users.sessions import Sessions
from gae_devserver.users.sign_in import SignIn
from tests.helpers.app_folder import LAUNCH, make_app
from tests.helpers.http_messages import Answer, Recorded
from tests.helpers.waiting import PATIENCE, until


class Site:
    """A front with an app behind it, and a client in front of it."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder = folder
        self.requests = RunningRequests()
        self.supervisor = Supervisor(self._start)
        self._sockets = listen(0, host=None)
        self.port: int = self._sockets[0].getsockname()[1]
        self.has_ipv6 = len(self._sockets) == 2
        self._client = AppClient()
        hostname = f"localhost:{self.port}"
        self.sender = AppSender(self._client, self.requests, hostname=hostname)
        config, self.sessions = load_app_yaml(folder), Sessions(self.port, None)
        access = LoginRules(config, self.sessions)
        self.task_sender = TaskSender(
            self.supervisor,
            self.sender,
            deadline=PATIENCE,
            refusal=access.refusal_of_task,
        )
        self.app_site = http_site.Site(
            config, self.supervisor, self.sender, access=access, limits=limits
        )
        pages = SignIn(self.sessions).pages()
        self.front = Front(lambda host, path: self.app_site, pages=pages, limits=limits)

    def _start(self) -> AppProcess:
        return AppProcess(load_app_yaml(self.folder), LAUNCH, OWN)

    async def start(self) -> None:
        """Start both; return when the app is ready."""
        await self.front.start(*self._sockets)
        async with asyncio.timeout(PATIENCE):
            await self.supervisor.run(self._start())

    async def stop(self) -> None:
        """Stop both."""
        await asyncio.gather(self.supervisor.stop(), self.front.stop())
        await self._client.close()
        assert len(self.requests) == 0

    async def send(self, request: bytes, host: str = "127.0.0.1") -> bytes:
        """Send bytes; return everything until the front closes the connection."""
        async with self.connected(host) as (reader, writer):
            writer.write(request)
            return await reader.read()

    async def get(
        self, target: str, *headers: str, method: str = "GET", body: bytes = b""
    ) -> Answer:
        """Send a request and return the answer."""
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close"]
        head = "\r\n".join([*lines, *headers, "", ""]).encode()
        return Answer(await self.send(head + body))

    @contextlib.asynccontextmanager
    async def connected(
        self, host: str = "127.0.0.1", source: str | None = None
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Give a connection to the front, for as long as a test may take."""
        reader, writer = await asyncio.open_connection(
            host, self.port, local_addr=(source, 0) if source else None
        )
        try:
            async with asyncio.timeout(PATIENCE):
                yield reader, writer
        finally:
            writer.close()

    async def dispatch(
        self,
        target: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        deadline: float = PATIENCE,
    ) -> int:
        """Send a task to the app; return the status of the answer."""
        task = Request("POST", target, CIMultiDict(headers), body)
        return await self.task_sender.send(task, deadline)

    def is_unasked(self) -> bool:
        """Return whether the recorder got no request since the last one was read."""
        return not list(self.folder.glob("request-*"))

    async def recorded(self) -> Recorded:
        """Return the request that the recorder got, which must be the only one."""
        await until(lambda: list(self.folder.glob("request-*.bin")))
        (file,) = self.folder.glob("request-*.bin")
        data = file.read_bytes()
        file.unlink()
        return Recorded(data)


@contextlib.asynccontextmanager
async def running(
    folder: Path,
    main: str,
    app_yaml: str = "",
    entrypoint: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> AsyncIterator[Site]:
    """Start a front with an app behind it."""
    site = Site(make_app(folder, main, app_yaml, entrypoint), limits)
    try:
        await site.start()
        yield site
    finally:
        await site.stop()
