"""Fixtures: a State API on a port of its own, with a task runner and a fake app."""

import contextlib
import dataclasses
import json
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from typing import Any

import aiohttp
import pytest_asyncio

from gae_devserver.app.client import Request
from gae_devserver.config.queue_yaml import QueueConfig
from gae_devserver.console.frame.link import ConsoleLink
from gae_devserver.console.reset import Reset
from gae_devserver.console.services import Addresses
from gae_devserver.console.state_api import StateApi
from gae_devserver.console.subjects import all_subjects
from gae_devserver.datastore_v1.databases import Databases
from gae_devserver.datastore_v1.limits import DEFAULT_LIMITS
from gae_devserver.http.server import TOKEN_HEADER
from gae_devserver.mail.inbound import InboundMail
from gae_devserver.users.sessions import Sessions
from tests.helpers.calls import application
from tests.unit.conftest import Bench, MakeBench

JSON_TYPE = {"Content-Type": "application/json"}


@dataclasses.dataclass(frozen=True)
class State(Bench):
    """A state API on a port of its own, and the task runner whose state it is."""

    session: aiohttp.ClientSession
    url: str

    async def send(
        self,
        method: str,
        path: str,
        data: bytes | None = b"{}",
        headers: Mapping[str, str] = JSON_TYPE,
    ) -> tuple[aiohttp.ClientResponse, Any]:
        """Send a request; return the answer and its JSON."""
        skip = ["Content-Type"]
        async with self.session.request(
            method, path, data=data, headers=headers, skip_auto_headers=skip
        ) as answer:
            assert answer.content_type == "application/json"
            return answer, await answer.json()

    async def ask(
        self, method: str, path: str, data: bytes = b"{}", *, status: int = 200
    ) -> Any:
        """Send a request, check the status, and return the JSON of the answer."""
        answer, content = await self.send(
            method, path, None if method == "GET" else data
        )
        assert answer.status == status, content
        return content

    async def get(self, path: str, status: int = 200) -> Any:
        """GET a path."""
        return await self.ask("GET", path, status=status)

    async def post(self, path: str, status: int = 200) -> Any:
        """POST an empty object to a path."""
        return await self.ask("POST", path, status=status)

    async def advance(self, seconds: float | None = None, status: int = 200) -> Any:
        """Advance the clock by some seconds, or to the next task."""
        wanted = {"to": "next_task"} if seconds is None else {"seconds": seconds}
        data = json.dumps(wanted).encode()
        return await self.ask("POST", "/clock/advance", data, status=status)

    async def listed(self) -> Any:
        """Return the default queue as it is listed."""
        return (await self.get("/queues"))["queues"][0]

    async def names(self) -> list[str]:
        """Return the names of the tasks of the default queue."""
        return [task["name"] for task in (await self.listed())["tasks"]]

    async def properties(self, query: str) -> list[Any]:
        """Return the properties of the entities that a query string asks for."""
        entities = (await self.get(f"/entities?{query}"))["entities"]
        return [entity["properties"] for entity in entities]


async def restart_nothing(services: Collection[str]) -> None:
    """Replace the restart of services, which most tests do not reach."""


async def refuse_mail(request: Request) -> int:
    """Replace the delivery of mail, which no test here reaches."""
    return 404


@pytest_asyncio.fixture
async def make_state(make_bench: MakeBench) -> AsyncIterator[Callable[..., Any]]:
    """Start services, a task runner and a state API for given queues."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(
            *queues: QueueConfig,
            restart: Callable[[Collection[str]], Awaitable[object]] = restart_nothing,
            runner: Mapping[str, Any] | None = None,
            **options: Any,
        ) -> State:
            bench = make_bench(*queues, **(runner or {}))
            token = secrets.token_hex(16)
            services = bench.server.services
            clock, requests = bench.clock, bench.server.requests
            bench.server.end(bench.api)
            runs = (bench.runner, bench.cron, clock)
            databases = Databases(
                services.datastore, services.app_id, DEFAULT_LIMITS, None
            )
            config = application().main
            subjects = all_subjects(
                services,
                databases,
                *runs,
                requests.activity,
                reset=Reset(services, *runs, requests, restart, **options),
                link=ConsoleLink(token),
                inbound=InboundMail(lambda: config, refuse_mail),
                sessions=Sessions(0, None),
                running={},
                addresses=Addresses("demo", 0, 0, 0, False, None),
            )
            state_api = StateApi(subjects, clock, token, services.flush)
            sock = socket.create_server(("127.0.0.1", 0))
            await state_api.start(sock)
            stack.push_async_callback(state_api.stop)
            url = f"http://127.0.0.1:{sock.getsockname()[1]}"
            session = aiohttp.ClientSession(url, headers={TOKEN_HEADER: token})
            await stack.enter_async_context(session)
            return State(**vars(bench), session=session, url=url)

        yield make


@pytest_asyncio.fixture
async def state(make_state: Callable[..., Any]) -> State:
    """A state API with the default queue."""
    return await make_state()
