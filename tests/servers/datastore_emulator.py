"""Google's Datastore emulator, which serves Cloud NDB beside dev_appserver.py."""

import pathlib
import subprocess
import sys

from gae_devserver.testing import wait_until
from gae_devserver.testing.requests import send

from tools import leash
from tools.cloud_sdk import find_emulator
from tools.dev_appserver import free_port

START_TIME = 60.0
"""Seconds that a start may take on a loaded machine; it takes one or two."""


def script_line(script: pathlib.Path, address: str, data: pathlib.Path) -> list[str]:
    """Return the command line of the script itself."""
    host, port = address.split(":")
    return [
        *(str(script), "start", f"--host={host}", f"--port={port}"),
        # a query sees what was just written, as in Firestore in Datastore mode
        *("--store_on_disk=False", "--consistency=1.0", str(data)),
    ]


def gcloud_line(address: str, data: pathlib.Path) -> list[str]:
    """Return the documented command line, with its data out of the user's way."""
    return [
        *("gcloud", "beta", "emulators", "datastore", "start", "--quiet"),
        *(f"--host-port={address}", "--no-store-on-disk", "--consistency=1.0"),
        *("--project=sample-project", f"--data-dir={data}"),
    ]


class DatastoreEmulator:
    """The emulator on a free port, with its entities in memory."""

    def __init__(self, work: pathlib.Path, *, by_gcloud: bool = False) -> None:
        """Start it; its log goes to `work`.

        With `by_gcloud` it is started by the command that a user types.
        """
        script = find_emulator()
        self._log_file = work / "datastore_emulator.log"
        self.host = f"127.0.0.1:{free_port()}"
        data = work / "datastore_emulator"
        if by_gcloud:
            line = gcloud_line(self.host, data)
        else:
            line = script_line(script, self.host, data)
        with self._log_file.open("wb") as log:
            self._leash = subprocess.Popen(
                [sys.executable, leash.__file__, *line],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=work,
                # Ctrl-C is for the tests, which then stop the emulator themselves
                start_new_session=True,
            )
        try:
            wait_until(self._answers, "the Datastore emulator answers", START_TIME)
        except BaseException:
            self.stop()
            raise

    def _answers(self) -> bool:
        if self._leash.poll() is not None:
            log = self._log_file.read_text(errors="replace")
            raise RuntimeError(f"the Datastore emulator ended:\n{log[-3000:]}")
        try:
            return send(f"http://{self.host}", "GET", "/").status == 200
        except OSError:
            return False

    def reset(self) -> None:
        """Drop all entities."""
        answer = send(f"http://{self.host}", "POST", "/reset", body=b"")
        assert answer.status == 200, answer.text

    def stop(self) -> None:
        """Let go of the leash, which stops the emulator's whole process group."""
        assert self._leash.stdin is not None
        self._leash.stdin.close()
        self._leash.wait(4 * leash.PATIENCE)
