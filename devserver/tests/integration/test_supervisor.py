"""The app is kept running: readiness, reload, and restarts after a crash."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from gae_devserver.app.process import AppProcess
from gae_devserver.app.python import OWN
from gae_devserver.app.supervisor import AppUnavailable, Limits, Supervisor, connect
from gae_devserver.config.app_yaml import load_app_yaml
from tests.helpers.app_folder import HELLO, LAUNCH, make_app
from tests.helpers.waiting import PATIENCE, settled, until

pytestmark = pytest.mark.asyncio

# Is loaded when there is a file "go", and leaves a file when it gets a request.
SLOW = """\
import pathlib, threading

pathlib.Path("loading").touch()
while not pathlib.Path("go").exists():
    threading.Event().wait(0.01)

def app(environ, start_response):
    pathlib.Path("requested").touch()
    start_response("200 OK", [])
    return [b""]
"""
# Listens, and closes no connection.
STUBBORN = """\
import os, socket

server = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
connections = []
while True:
    connections.append(server.accept())
"""
BROKEN = "print('about to fail')\nraise RuntimeError('broken app')\n"


class App:
    """An app in a folder, with its supervisor and all processes it has had."""

    def __init__(
        self,
        folder: Path,
        limits: Limits,
        warm_up: Callable[[AppProcess], Awaitable[None]] | None = None,
    ) -> None:
        self.folder = folder
        self.processes: list[AppProcess] = []
        self.supervisor = Supervisor(self.start, warm_up=warm_up, limits=limits)

    def start(self) -> AppProcess:
        """Start one more process of the app."""
        self.processes.append(AppProcess(load_app_yaml(self.folder), LAUNCH, OWN))
        return self.processes[-1]

    async def run(self, main: str = HELLO, entrypoint: str | None = None) -> None:
        """Make the app and start it for the first time."""
        make_app(self.folder, main, entrypoint=entrypoint)
        async with asyncio.timeout(PATIENCE):
            await self.supervisor.run(self.start())

    async def ready(self) -> AppProcess:
        """Return the process that is ready."""
        async with asyncio.timeout(PATIENCE):
            return await self.supervisor.process()

    async def has_had(self, count: int) -> None:
        """Wait until so many processes were started."""
        await until(lambda: len(self.processes) == count)

    async def reason(self) -> str:
        """Return the reason as soon as the app is not available."""
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    await self.supervisor.process()
                except AppUnavailable as error:
                    return str(error)
                await asyncio.sleep(0.01)


@pytest_asyncio.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., App]]:
    """Make an app that is not started yet, with some limits changed."""
    apps: list[App] = []

    def make_one(
        warm_up: Callable[[AppProcess], Awaitable[None]] | None = None, **limits: float
    ) -> App:
        apps.append(App(tmp_path / "app", Limits(**limits), warm_up))
        return apps[-1]

    yield make_one
    for app in apps:
        await app.supervisor.stop()
        assert all(process.exit_status is not None for process in app.processes)


@pytest.fixture
def app(make: Callable[..., App]) -> App:
    """An app that is not started yet."""
    return make()


async def test_ready_is_when_a_worker_takes_requests(
    make: Callable[..., App], caplog: pytest.LogCaptureFixture
) -> None:
    """An open port is not enough, however long the import takes; no request is made."""
    app = make(patience=0.05, slow_start=0.0)
    ready = asyncio.create_task(app.run(SLOW))
    await until((app.folder / "loading").exists)
    _, writer = await connect(app.processes[0])
    writer.close()
    await asyncio.wait({ready}, timeout=0.3)
    assert not ready.done()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    (app.folder / "go").touch()
    await ready
    assert await app.ready() is app.processes[0]
    assert not (app.folder / "requested").exists()


async def test_a_server_that_closes_nothing_is_ready_too(
    make: Callable[..., App],
) -> None:
    """Some servers keep a connection open on which no request came."""
    await make(patience=0.2).run(STUBBORN, "python main.py")


async def test_ready_comes_after_the_warm_up(make: Callable[..., App]) -> None:
    """The process gets the warm-up before any other request."""
    warm = asyncio.Event()
    asked: list[AppProcess] = []

    async def warm_up(process: AppProcess) -> None:
        asked.append(process)
        await warm.wait()

    app = make(warm_up)
    ready = asyncio.create_task(app.run())
    await until(lambda: asked)
    assert asked == app.processes
    assert not ready.done()
    warm.set()
    await ready


async def test_only_the_last_of_many_restarts_counts(app: App) -> None:
    """Requests wait for the last process; all others are ended."""
    await app.run()
    for _ in range(3):
        app.supervisor.restart()
        await asyncio.sleep(0)
    last = await app.ready()
    assert last is app.processes[-1]
    assert len(app.processes) > 1
    await until(lambda: all(p.exit_status is not None for p in app.processes[:-1]))
    assert last.exit_status is None


async def test_a_reload_that_fails_waits_for_the_next_change(
    make: Callable[..., App],
) -> None:
    """The app is not available until a restart works, and nothing is tried before."""
    app = make(first_delay=0.0)
    await app.run()
    (app.folder / "main.py").write_text(BROKEN)
    app.supervisor.restart()
    assert "RuntimeError: broken app" in await app.reason()
    await settled()
    assert len(app.processes) == 2
    (app.folder / "main.py").write_text(HELLO)
    app.supervisor.restart()
    assert await app.ready() is app.processes[2]


async def test_a_first_start_that_fails(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    """`run` raises the reason; the log has that of a restart, and that one works."""
    caplog.set_level(logging.INFO)
    with pytest.raises(AppUnavailable, match="RuntimeError: broken app"):
        await app.run(BROKEN)
    assert caplog.messages == []
    app.supervisor.restart()
    await until(lambda: len(caplog.messages) == 1)
    assert "RuntimeError: broken app" in await app.reason()
    assert "exit status 3" in caplog.messages[0]
    (app.folder / "main.py").write_text(HELLO)
    app.supervisor.restart()
    await app.ready()
    assert caplog.messages[1:] == ["the app is ready"]


@pytest.mark.parametrize(("longest_delay", "second"), [(30.0, "0.2 s"), (0.0, "0.1 s")])
async def test_an_app_that_crashes_is_started_again(
    make: Callable[..., App], longest_delay: float, second: str
) -> None:
    """The delay grows from crash to crash, unless the app ran for long in between."""
    app = make(first_delay=0.1, longest_delay=longest_delay)
    await app.run(entrypoint="gunicorn --no-control-socket --pid pid main:app")
    for count, delay in enumerate(("0.1 s", second), 1):
        await app.ready()
        os.kill(int((app.folder / "pid").read_text()), signal.SIGKILL)
        reason = await app.reason()
        assert " signal 9 " in reason.partition("\n")[0]
        assert f" in {delay}." in reason.rpartition("\n")[2]
        await app.has_had(count + 1)
    await app.ready()


async def test_an_app_that_is_not_started_at_all(app: App) -> None:
    """A folder that is gone is a failure like any other, not the server's end."""
    await app.run()
    moved = app.folder.rename(app.folder.with_name("elsewhere"))
    app.supervisor.restart()
    assert await app.reason()
    moved.rename(app.folder)
    app.supervisor.restart()
    await app.ready()


async def test_stop_ends_all_processes(app: App) -> None:
    """A process that is still ending is awaited too; later requests are refused."""
    await app.run()
    app.supervisor.restart()
    await app.has_had(2)
    async with asyncio.timeout(PATIENCE):
        await app.supervisor.stop()
    assert all(process.exit_status is not None for process in app.processes)
    with pytest.raises(AppUnavailable):
        await app.supervisor.process()
