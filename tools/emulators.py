"""Runs Google's Datastore emulator and its Firestore emulator in Datastore mode."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from nox.command import CommandFailed

from tools import leash
from tools.cloud_sdk import NotInstalledError, find_emulator
from tools.processes import INSTALL_ONLY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_START_SECONDS = 90.0  # a start takes three seconds, more on a loaded machine
_COMMANDS = {
    "datastore": [
        *("gcloud", "beta", "emulators", "datastore", "start"),
        "--no-store-on-disk",
        # a query sees what was just written, as in Firestore in Datastore mode
        "--consistency=1.0",
    ],
    "firestore": [
        *("gcloud", "emulators", "firestore", "start"),
        "--database-mode=datastore-mode",
    ],
}
_VARIABLES = {
    "datastore": "GOOGLE_DATASTORE_EMULATOR_HOST",
    "firestore": "DATASTORE_FIRESTORE_HOST",
}


def need_emulators(leave: Callable[[str], NoReturn]) -> None:
    """Call `leave` with what to install if one of the emulators is missing."""
    try:
        for name in _COMMANDS:
            find_emulator(name)
    except NotInstalledError as error:
        leave(str(error))


@contextmanager
def running_emulators() -> Iterator[dict[str, str]]:
    """Run both on free ports; yield the variables that name their addresses.

    They end with this process too, even if it is killed.

    Raises:
        CommandFailed: one of them did not start.
    """
    names = {} if INSTALL_ONLY else _VARIABLES
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        started = [
            (variable, stack.enter_context(_started(name, folder)))
            for name, variable in names.items()
        ]
        yield {variable: wait() for variable, wait in started}


@contextmanager
def _started(name: str, folder: Path) -> Iterator[Callable[[], str]]:
    """Start an emulator; yield a function that waits for it, and returns its address.

    So both can start at the same time.
    """
    log = folder / f"{name}.log"
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [*_COMMANDS[name], "--quiet", f"--host-port={address}", "--project=unit"]
    if name == "datastore":
        command.append(f"--data-dir={folder / name}")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, leash.__file__, *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # at Ctrl-C, the tests end first
        )

    def wait() -> str:
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(address):
            if process.poll() is not None or time.monotonic() > deadline:
                text = log.read_text(errors="replace")[-3000:]
                raise CommandFailed(f"the {name} emulator did not start:\n{text}")
            threading.Event().wait(0.1)
        return address

    try:
        yield wait
    finally:
        assert process.stdin is not None
        process.stdin.close()  # stops the whole process group
        process.wait(4 * leash.PATIENCE)


def _answers(address: str) -> bool:
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
