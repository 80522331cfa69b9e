"""The embedded dev server: start it and drive it through its state API."""

from __future__ import annotations

import base64
import json
import pathlib
import re
import subprocess
import sys
from typing import Any
from urllib.parse import quote

from tests.servers import base
from tests.servers.waiting import wait_until

START_TIME = 30.0
"""Seconds that the banner may take on a loaded machine."""

STOP_TIME = 10.0
"""Seconds that the server may take to stop; it promises three."""


class Embedded(base.Server):
    """`gae-devserver` with one app on it."""

    name = "embedded"

    def __init__(
        self,
        app: pathlib.Path,
        work: pathlib.Path,
        *options: str,
        log: str = "embedded.log",
        reload: bool = False,
    ) -> None:
        """Start the server for the folder `app`, with options of its command line.

        Its log goes to a file in `work`. With `reload` the app starts anew when one of
        its files changes.
        """
        self._log_file = work / log
        with self._log_file.open("wb") as output:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "gae_devserver",
                    str(app),
                    "--port",
                    "0",
                    "--reload" if reload else "--no-reload",
                    *options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=pathlib.Path(__file__).resolve().parents[2],
                start_new_session=True,
            )
        try:
            self.url = self._printed(r"^\s+App\s+(http://\S+)")
            self._api = self._printed(r"^\s+State API\s+(http://\S+)")
            self._token = self._printed(r"^\s+Token\s+(\S+)")
            self.datastore_host = self._printed(r"DATASTORE_EMULATOR_HOST=(\S+)")
            # the banner comes when the app is ready, and this is its last line
            self._printed(r"^Press (Ctrl-C)")
        except BaseException:
            self.stop()
            raise

    @property
    def log_file(self) -> pathlib.Path:
        """The file that takes what the server and the app print."""
        return self._log_file

    def _printed(self, pattern: str) -> str:
        """Return the first group of `pattern` once the log holds it."""

        def look() -> str | None:
            if self._process.poll() is not None:
                raise RuntimeError(f"the embedded server ended:\n{self.log()[-3000:]}")
            found = re.search(pattern, self.log(), re.MULTILINE)
            return found[1] if found else None

        return wait_until(look, f"{pattern} in {self._log_file}", START_TIME) or ""

    def stop(self) -> None:
        """Stop the server, which stops the app."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(STOP_TIME)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_TIME)

    def kill(self) -> None:
        """End the server at once, as the system does when memory runs out."""
        self._process.kill()
        self._process.wait()

    def state(self, method: str, path: str, body: object = None) -> Any:
        """Call the state API and return its answer, decoded."""
        answer = base.send(
            self._api,
            method,
            path,
            [("Content-Type", "application/json"), ("X-Devserver-Token", self._token)],
            json.dumps({} if body is None else body).encode()
            if method == "POST"
            else None,
        )
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.text}")
        return json.loads(answer.body)

    def tasks(self, queue: str = "default") -> list[base.Task]:
        """Return the tasks that wait in `queue`, the next one to run first."""
        listed = self.state("GET", "/queues")["queues"]
        (found,) = (entry for entry in listed if entry["name"] == queue)
        tasks = []
        for entry in found["tasks"]:
            path = f"/queues/{quote(queue)}/tasks/{quote(entry['name'])}"
            detail = self.state("GET", path)
            tasks.append(
                base.Task(
                    queue=queue,
                    name=entry["name"],
                    method=entry["method"],
                    url=entry["url"] or "",
                    due_in=entry["due_in"],
                    retry_count=entry["retry_count"],
                    headers={name.lower(): value for name, value in detail["headers"]},
                    payload=base64.b64decode(detail["payload"]),
                )
            )
        return sorted(tasks, key=lambda task: task.due_in)

    def advance(self, seconds: float) -> None:
        """Let `seconds` of the app's time pass; return once all due by then has run."""
        self.state("POST", "/clock/advance", {"seconds": seconds})

    def purge(self, queue: str) -> None:
        """Drop every task of `queue`; their names stay taken."""
        self.state("POST", f"/queues/{quote(queue)}/purge")

    def pause(self, queue: str) -> None:
        """Run no task of `queue` until it is resumed."""
        self.state("POST", f"/queues/{quote(queue)}/pause")

    def resume(self, queue: str) -> None:
        """Run the tasks of `queue` again."""
        self.state("POST", f"/queues/{quote(queue)}/resume")

    def reset(self) -> None:
        """Drop entities, tasks, tombstones and memcache, and set the clock back."""
        self.state("POST", "/reset")
