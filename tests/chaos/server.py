"""The dev server with faults and a storage; tests kill it and start it again."""

import collections
import http.client
import pathlib
import re
import sqlite3

from gae_devserver.storage.storage import FILE_NAME
from gae_devserver.testing import ServerEndedError, StateApiError, wait_until

from tests.servers import staging
from tests.servers.embedded import Embedded

FAULTS = "twice=0.1,lost=0.1,error=0.1,slow=0.05,rpc=0.02,kill=0.03"
"""The faults and their shares; see `gae-devserver --help`."""

NO_ANSWER = (OSError, http.client.HTTPException, ServerEndedError)
"""The errors of a request to a server that was killed or cut off."""

PATIENCE = 300.0
"""Seconds until one call must have succeeded."""


def stage(
    app: str, work: pathlib.Path, library: str = "bundled", tasks: str = "bundled"
) -> pathlib.Path:
    """Copy an app, with the route that the driver calls."""
    staged = pathlib.Path(__file__).parent / "staged"
    return staging.stage(app, work, library, tasks, staged, "chaos_main")


class ChaosServer:
    """A server that is killed and started again on its storage."""

    def __init__(self, app: pathlib.Path, work: pathlib.Path, seed: int) -> None:
        """Start the server; storage and logs go to `work`."""
        self._app = app
        self._work = work
        self._seed = seed
        self._storage = work / "storage"
        self.starts = 0
        self._run = self._start()

    def _start(self) -> Embedded:
        self.starts += 1
        return Embedded(
            self._app,
            self._work,
            f"--storage={self._storage}",
            f"--faults={FAULTS},seed={self._seed + self.starts}",
            log=f"server-{self.starts}.log",
        )

    def kill(self) -> None:
        """Kill the server, and start it again."""
        self._run.kill()
        self._run = self._start()

    def close(self) -> None:
        """Stop the server for good."""
        self._run.stop()

    def ask(self, method: str, target: str) -> int:
        """Send one request; return the status, 0 if there was no answer."""
        try:
            return self._run.request(method, target, body=None).status
        except NO_ANSWER:
            return 0

    def insist(self, method: str, target: str) -> None:
        """Repeat a request until it is answered with 200."""
        wait_until(
            lambda: self.ask(method, target) == 200, f"{method} {target}", PATIENCE
        )

    def drain(self) -> None:
        """Run tasks, and what becomes due later, until there are none."""
        wait_until(self._is_drained, "the queue is empty", PATIENCE)

    def _is_drained(self) -> bool:
        try:
            self._run.advance(3600)
            return not self.waiting()
        except (*NO_ANSWER, StateApiError):
            # the app is restarting
            return False

    def sweep(self) -> None:
        """Run the sweep of Cloud Tasks until no transactional task is left behind.

        The SDK leaves such a task alone for a minute of real time, or two.
        """
        wait_until(self._is_swept, "no task is left behind", PATIENCE, interval=5)

    def _is_swept(self) -> bool:
        try:
            self._run.run_cron("/_ah/cloudtask/sweep")
            left = self._run.state("GET", "/entities?kind=_AE_PendingCloudTask")
        except (*NO_ANSWER, StateApiError):
            # the app is restarting
            return False
        return not left["entities"]

    def waiting(self) -> int:
        """Return how many tasks wait in the default queue, at one moment."""
        queues = self._run.state("GET", "/queues")["queues"]
        return sum(one["task_count"] for one in queues if one["name"] == "default")

    def count(self) -> int:
        """Return what /counter/get shows."""

        def look() -> str | None:
            try:
                answer = self._run.get("/counter/get")
            except NO_ANSWER:
                return None
            return answer.text if answer.status == 200 else None

        return int(wait_until(look, "an answer of /counter/get", PATIENCE) or "")

    def acknowledged(self) -> list[str]:
        """Return the names of the tasks that were acknowledged to the app."""
        return (self._app / "added.txt").read_text().split()

    def tasks_ever(self) -> set[str]:
        """Return all tasks in the storage, done ones too; stop the server before."""
        database = sqlite3.connect(self._storage / FILE_NAME)
        names = {name for (name,) in database.execute("SELECT name FROM tasks")}
        database.close()
        return names

    def faults(self) -> dict[str, int]:
        """Return how many faults have happened, by name."""
        found: collections.Counter[str] = collections.Counter()
        for log in self._work.glob("server-*.log"):
            text = log.read_text(errors="replace")
            found.update(re.findall(r"fault (\w+): ", text))
        found["server"] = self.starts - 1
        return dict(found)
