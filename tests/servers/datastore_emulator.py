"""Google's Datastore emulator, which serves Cloud NDB beside dev_appserver.py."""

import pathlib
import socket

from gae_devserver.testing import wait_until
from gae_devserver.testing.requests import send

from tests.servers.leashed import Leashed
from tools.cloud_sdk import find_emulator

START_TIME = 60.0
"""Seconds that a start may take on a loaded machine; it takes one or two."""


class DatastoreEmulator:
    """The emulator on a free port, with its entities in memory."""

    def __init__(self, work: pathlib.Path) -> None:
        """Start it by the command that a user types; log and data go to `work`."""
        find_emulator()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.host = f"127.0.0.1:{free.getsockname()[1]}"
        self._leashed = Leashed(
            [
                "gcloud",
                "beta",
                "emulators",
                "datastore",
                "start",
                "--quiet",
                f"--host-port={self.host}",
                "--no-store-on-disk",
                # a query sees what was just written, as in Firestore in Datastore mode
                "--consistency=1.0",
                "--project=sample-project",
                f"--data-dir={work / 'datastore_emulator'}",
            ],
            work / "datastore_emulator.log",
        )
        try:
            wait_until(self._answers, "the Datastore emulator answers", START_TIME)
        except BaseException:
            self.stop()
            raise

    def _answers(self) -> bool:
        self._leashed.check()
        try:
            return send(f"http://{self.host}", "GET", "/").status == 200
        except OSError:
            return False

    def reset(self) -> None:
        """Drop all entities."""
        answer = send(f"http://{self.host}", "POST", "/reset", body=b"")
        assert answer.status == 200, answer.text

    def stop(self) -> None:
        """Stop all of its processes."""
        self._leashed.stop()
