"""The app is kept running: readiness, reload, and restarts after a crash."""

import asyncio
import contextlib
import functools
import inspect
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from gae_devserver.app import supervisor
from gae_devserver.app.process import AppProcess
from gae_devserver.app.supervisor import AppUnavailable, Supervisor, connect
from gae_devserver.config.app_yaml import load_app_yaml
from tests.helpers.app_folder import HELLO, make_app
from tests.helpers.waiting import PATIENCE

pytestmark = pytest.mark.asyncio


# Is loaded when there is a file "go", and leaves a file where it was asked something.
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

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[AppProcess] = []
        self.supervisor = Supervisor(self.start)

    def start(self) -> AppProcess:
        """Start one more process of the app."""
        app = load_app_yaml(self.folder)
        process = AppProcess(
            app, project="p", version="v1", api_port=9, datastore_port=9
        )
        self.processes.append(process)
        return process

    async def run(self, main: str = HELLO, entrypoint: str | None = None) -> None:
        """Make the app and start it for the first time."""
        make_app(self.folder, main, entrypoint=entrypoint)
        async with asyncio.timeout(PATIENCE):
            await self.supervisor.run(self.start())

    async def ready(self) -> AppProcess:
        """Return the process that is ready."""
        async with asyncio.timeout(PATIENCE):
            return await self.supervisor.process()

    async def reason(self) -> str:
        """Wait until the app is given up, and return the reason."""
        failure = ""

        async def given_up() -> bool:
            nonlocal failure
            try:
                await self.supervisor.process()
            except AppUnavailable as error:
                failure = str(error)
            return bool(failure)

        await until(given_up, "the app is given up")
        return failure

    def has_had(self, count: int) -> bool:
        """Say whether so many processes have been started."""
        return len(self.processes) == count

    async def ended(self, process: AppProcess) -> None:
        """Wait for the end of a process."""
        await until(lambda: process.exit_status is not None, "the end of the app")


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition, a coroutine function's too, while the loop runs."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            while True:
                result = condition()
                if await result if inspect.isawaitable(result) else result:
                    return
                await asyncio.sleep(0.01)
    pytest.fail(f"not so within {PATIENCE:g} s: {what}")


@pytest_asyncio.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    """An app that is not started yet."""
    app = App(tmp_path / "app")
    yield app
    await app.supervisor.stop()
    assert all(process.exit_status is not None for process in app.processes)


async def test_ready_is_when_a_worker_takes_requests(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An open port does not do, and the app is asked nothing to find out.

    However long its import takes: gunicorn is not taken for ready before.
    """
    monkeypatch.setattr(supervisor, "_PATIENCE_SECONDS", 0.05)
    ready = asyncio.create_task(app.run(SLOW))
    await until((app.folder / "loading").exists, "the import of the app")
    _, writer = await connect(app.processes[0])
    writer.close()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await asyncio.shield(ready)
    (app.folder / "go").touch()
    await ready
    assert await app.ready() is app.processes[0]
    assert not (app.folder / "requested").exists()


async def test_a_server_that_closes_nothing_is_ready_too(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not every server closes a connection on which nothing was asked."""
    monkeypatch.setattr(supervisor, "_PATIENCE_SECONDS", 0.2)
    await app.run(STUBBORN, "python main.py")


async def test_ready_comes_after_the_warm_up(app: App) -> None:
    """The warm-up goes to the process before anything else may."""
    warm = asyncio.Event()
    asked: list[AppProcess] = []

    async def warm_up(process: AppProcess) -> None:
        asked.append(process)
        await warm.wait()

    app.supervisor.warm_up = warm_up
    ready = asyncio.create_task(app.run())
    await until(lambda: asked, "the warm-up")
    assert asked == app.processes
    assert not ready.done()
    warm.set()
    await ready


@pytest.mark.parametrize(
    ("main", "entrypoint", "status", "tail"),
    [
        (BROKEN, None, 3, "RuntimeError: broken app"),
        ("def app(:\n", None, 3, "SyntaxError"),
        (BROKEN, "gunicorn main:app", 3, "RuntimeError: broken app"),
        (BROKEN, "python main.py", 1, "RuntimeError: broken app"),
        (HELLO, "no-such-program main:app", 127, "no-such-program"),
    ],
)
async def test_an_app_that_dies_at_start(
    app: App, main: str, entrypoint: str | None, status: int, tail: str
) -> None:
    """The reason has the exit status and the last lines; nothing is tried again."""
    with pytest.raises(AppUnavailable) as caught:
        await app.run(main, entrypoint)
    reason = str(caught.value)
    first, _, rest = reason.partition("\n")
    assert f" exit status {status} " in first
    assert tail in rest
    assert len(app.processes) == 1
    assert await app.reason() == reason


async def test_a_restart_replaces_the_process(app: App) -> None:
    """Who asks meanwhile waits for the new process; the old one is ended."""
    await app.run()
    app.supervisor.restart()
    new = await app.ready()
    assert app.processes == [app.processes[0], new]
    await app.ended(app.processes[0])
    assert new.exit_status is None


async def test_only_the_last_of_many_restarts_counts(app: App) -> None:
    """Files that are saved one after the other leave one process running."""
    await app.run()
    for _ in range(3):
        app.supervisor.restart()
        await asyncio.sleep(0)
    last = await app.ready()
    assert last is app.processes[-1]
    for process in app.processes[:-1]:
        await app.ended(process)


async def test_a_reload_that_fails_waits_for_the_next_change(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure is the answer until a restart works; nothing else is tried."""
    monkeypatch.setattr(supervisor, "_FIRST_DELAY", 0.01)
    await app.run()
    (app.folder / "main.py").write_text(BROKEN)
    app.supervisor.restart()
    reason = await app.reason()
    assert "RuntimeError: broken app" in reason
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await until(functools.partial(app.has_had, 3), "another start")
    (app.folder / "main.py").write_text(HELLO)
    app.supervisor.restart()
    assert await app.ready() is app.processes[2]
    assert len(app.processes) == 3


async def test_an_app_that_crashes_is_started_again(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First the failure is the answer, for a while that grows from crash to crash."""
    monkeypatch.setattr(supervisor, "_FIRST_DELAY", 0.2)
    await app.run(entrypoint="gunicorn --no-control-socket --pid pid main:app")
    for count, delay in enumerate(("0.2 s", "0.4 s"), 1):
        await app.ready()
        os.kill(int((app.folder / "pid").read_text()), signal.SIGKILL)
        reason = await app.reason()
        assert " signal 9 " in reason.partition("\n")[0]
        assert f" in {delay}." in reason.rpartition("\n")[2]
        await until(functools.partial(app.has_had, count + 1), "the next start")
    await app.ready()


async def test_an_app_that_is_not_started_at_all(app: App) -> None:
    """A folder that has gone is a failure like another, and not the server's end."""
    await app.run()
    moved = app.folder.rename(app.folder.with_name("elsewhere"))
    app.supervisor.restart()
    assert await app.reason()
    moved.rename(app.folder)
    app.supervisor.restart()
    await app.ready()


async def test_stop_ends_all_processes(app: App) -> None:
    """Also one that is still on its way out; who asks afterwards is refused."""
    await app.run()
    app.supervisor.restart()
    await until(functools.partial(app.has_had, 2), "the next start")
    async with asyncio.timeout(PATIENCE):
        await app.supervisor.stop()
    assert all(process.exit_status is not None for process in app.processes)
    with pytest.raises(AppUnavailable):
        await app.supervisor.process()
