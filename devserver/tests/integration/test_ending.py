"""The server ends in time in all cases, and leaves no process."""

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gae_devserver.app.process import STOP_SECONDS
from gae_devserver.parts import Settings
from gae_devserver.testing import wait_until
from gae_devserver.testing.processes import descendants, wait_for_end
from tests.helpers.command import COMMAND, PATIENCE, Running, fetch

PROMISE = 10.0
"""Seconds to wait for the end: three are promised, and a busy machine gets more."""


def ends_well(server: Running, processes: set[int]) -> None:
    """Expect status 0 in time, and no process or traceback left."""
    assert server.process.wait(PROMISE) == 0
    wait_for_end(processes, PROMISE)
    assert "Traceback" not in server.stderr


def tree_of(server: Running) -> set[int]:
    """Return all processes of a server whose app is ready."""
    assert server.url
    processes = {server.process.pid} | descendants(server.process.pid)
    # the server, the watchdog, gunicorn, a worker
    assert len(processes) >= 4
    return processes


@pytest.mark.parametrize(
    ("kill", "number"),
    [
        (os.kill, signal.SIGINT),
        (os.kill, signal.SIGTERM),
        (os.kill, signal.SIGHUP),
        # Ctrl-C in a terminal
        (os.killpg, signal.SIGINT),
    ],
)
def test_a_signal(
    start: Callable[..., Running],
    kill: Callable[[int, signal.Signals], None],
    number: signal.Signals,
) -> None:
    """The server ends with status 0 in time, and so does the app."""
    server = start()
    processes = tree_of(server)
    kill(server.process.pid, number)
    ends_well(server, processes)


def test_an_impatient_user(start: Callable[..., Running]) -> None:
    """More signals while the server ends change nothing."""
    server = start()
    processes = tree_of(server)

    def press() -> bool:
        if server.process.poll() is None:
            os.killpg(server.process.pid, signal.SIGINT)
        return server.process.poll() is not None

    wait_until(press, "the end", PROMISE)
    ends_well(server, processes)


@pytest.mark.parametrize("is_loading", [False, True])
def test_a_signal_while_the_server_starts(
    folder: Path, start: Callable[..., Running], is_loading: bool
) -> None:
    """Even before the banner, the server ends with status 0 and leaves nothing."""
    (folder / "main.py").write_text(
        "import pathlib, threading\n"
        "pathlib.Path('loading').touch()\n"
        "threading.Event().wait()\n"
    )
    server = start()
    wait_until(lambda: descendants(server.process.pid), "the watchdog", PATIENCE)
    if is_loading:
        wait_until((folder / "loading").exists, "the import of the app", PATIENCE)
    processes = {server.process.pid} | descendants(server.process.pid)
    server.process.terminate()
    ends_well(server, processes)
    assert server.stdout == ""


def test_the_state_api_while_the_server_ends(
    folder: Path, start: Callable[..., Running]
) -> None:
    """It answers until the app has ended, also its first client."""
    (folder / "main.py").write_text(
        "import pathlib, threading\n"
        "def app(environ, start_response):\n"
        "    pathlib.Path('began').touch()\n"
        "    threading.Event().wait()\n"
    )
    server = start()
    processes = tree_of(server)
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until((folder / "began").exists, "the request", PATIENCE)
        server.process.terminate()
        with contextlib.suppress(ConnectionResetError):
            while client.recv(4096):  # until the server has ended the request
                pass
    assert fetch(server.state_url, "/services")[0] == 200
    ends_well(server, processes)


def test_sigkill_to_the_server_alone(start: Callable[..., Running]) -> None:
    """The server cannot end the app and remove its socket, but the watchdog does."""
    server = start("--log-level", "debug")
    processes = tree_of(server)
    path = server.find(r"Listening at: unix:(\S+)", lambda: server.stderr)
    server.process.kill()
    server.process.wait(PATIENCE)
    wait_for_end(processes, PROMISE)
    wait_until(lambda: not Path(path).parent.exists(), "the end of its files", PATIENCE)


def test_sigkill_to_the_watchdog(start: Callable[..., Running]) -> None:
    """The server ends what the watchdog cannot end any more, and restarts the app."""
    server = start()
    processes = tree_of(server) - {server.process.pid}
    watchdog = max(processes, key=lambda pid: len(descendants(pid)))
    os.kill(watchdog, signal.SIGKILL)
    wait_for_end(processes, PROMISE)
    server.answers("hello")


def test_the_server_ends_with_its_parent(folder: Path, tmp_path: Path) -> None:
    """The parent is killed, so it cannot tell the server."""
    log = tmp_path / "log"
    script = f"{' '.join(COMMAND)} {folder} --port 0 > {log} 2>&1; true"
    with subprocess.Popen(["sh", "-c", script]) as parent:
        wait_until(
            lambda: log.exists() and "Press Ctrl-C" in log.read_text(),
            "the banner",
            PATIENCE,
        )
        processes = descendants(parent.pid)
        assert len(processes) >= 4
        parent.kill()
        parent.wait()
        wait_for_end(processes, PROMISE)
    assert "Traceback" not in log.read_text()


def test_the_time_limits_keep_the_promise() -> None:
    """The server waits for an app that is killed, and still ends in three seconds."""
    assert STOP_SECONDS < Settings.shutdown_seconds <= 3
