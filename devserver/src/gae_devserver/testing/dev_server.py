"""Start the dev server in a process of its own, control it, and read its log."""

import base64
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from gae_devserver.testing.requests import Headers, Response, send
from gae_devserver.testing.waiting import wait_until

_START_SECONDS = 30.0
# The server stops within 3 s unless the machine is loaded.
_STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Task:
    """A task that waits in a queue.

    `due_in` is in seconds of the server's clock. `headers` have lower-case names.
    """

    queue: str
    name: str
    method: str
    url: str
    due_in: float
    retry_count: int
    headers: dict[str, str] = field(default_factory=dict)
    payload: bytes = b""


class StateApiError(RuntimeError):
    """The State API refused a call. The text gives the reason."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class DevServer:
    """The dev server in a process of its own, with one app on it."""

    url: str
    """Where the app answers."""
    state_url: str
    """Where the State API answers."""
    token: str
    """The token that changes through the State API require."""
    datastore_host: str
    """DATASTORE_EMULATOR_HOST for Cloud NDB outside the app."""

    def __init__(
        self,
        app: str | PathLike[str],
        *options: str,
        log_file: str | PathLike[str],
        python: str | PathLike[str] | None = None,
        reload: bool = False,
    ) -> None:
        """Start the server; return when the app is ready.

        Args:
            app: the folder that holds app.yaml.
            options: options of the command line. The port is free unless they name one.
            python: the interpreter, or the folder of the environment, that runs the
                app; without it, the server makes one from requirements.txt.
            log_file: where to write what the server and the app print.
            reload: whether a changed file restarts the app.

        Raises:
            RuntimeError: the server ended. The text shows what it printed.
            TimeoutError: the app was not ready in time. The text shows the same.
        """
        self._log_file = Path(log_file)
        with self._log_file.open("wb") as output:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",  # no module in the current folder can hide one of Python's
                    "-m",
                    "gae_devserver",
                    fspath(app),
                    "--port=0",
                    "--reload" if reload else "--no-reload",
                    *([] if python is None else ["--python", fspath(python)]),
                    *options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches only the tests, which stop it
            )
        try:
            # The last line of the banner appears when the app is ready.
            self.wait_for_log(r"^Press Ctrl-C", _START_SECONDS)
            self.url = self.wait_for_log(r"^\s+App\s+(http://\S+)")[1]
            self.state_url = self.wait_for_log(r"^\s+State API\s+(http://\S+)")[1]
            self.token = self.wait_for_log(r"^\s+Token\s+(\S+)")[1]
            host = self.wait_for_log(r"DATASTORE_EMULATOR_HOST=(\S+)")
            self.datastore_host = host[1]
        except BaseException:
            self.stop()
            raise

    def wait_for_log(self, pattern: str, seconds: float = 20.0) -> re.Match[str]:
        """Wait for a match in the log, and return it; ^ and $ match at each line.

        Raises:
            RuntimeError: the server ended before. The text shows what it printed.
            TimeoutError: nothing matched in time. The text shows the same.
        """

        def look() -> re.Match[str] | None:
            ended = self._process.poll() is not None
            found = re.search(pattern, self.log(), re.MULTILINE)
            if found is None and ended:
                raise RuntimeError(f"the dev server ended:\n{self.log()[-3000:]}")
            return found

        try:
            return wait_until(look, f"{pattern} in {self._log_file}", seconds)
        except TimeoutError as error:
            raise TimeoutError(f"{error}:\n{self.log()[-3000:]}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop the server, which stops the app."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill the server with SIGKILL, as the system does when memory runs out."""
        self._process.kill()
        self._process.wait()

    @property
    def pid(self) -> int:
        """The server's process ID."""
        return self._process.pid

    @property
    def log_file(self) -> Path:
        """The file with what the server and the app print."""
        return self._log_file

    def log(self) -> str:
        """Return what the server and the app have printed since the start."""
        return self._log_file.read_text(errors="replace")

    def request(
        self,
        method: str,
        target: str,
        headers: Headers = (),
        body: bytes | None = None,
    ) -> Response:
        """Send a request to the app, through the server's public port."""
        return send(self.url, method, target, headers, body)

    def get(self, target: str, headers: Headers = ()) -> Response:
        """GET `target`."""
        return self.request("GET", target, headers)

    def post(self, target: str, body: bytes = b"", headers: Headers = ()) -> Response:
        """POST `body` to `target`."""
        return self.request("POST", target, headers, body)

    def state(self, method: str, path: str, body: object = None) -> Any:
        """Call the State API and return its answer, decoded.

        Raises:
            StateApiError: the answer is not 200.
        """
        content = json.dumps({} if body is None else body).encode()
        answer = send(
            self.state_url,
            method,
            path,
            [("Content-Type", "application/json"), ("X-Devserver-Token", self.token)],
            content if method == "POST" else None,
        )
        if answer.status != 200:
            text = f"{method} {path}: {answer.status} {answer.text}"
            raise StateApiError(answer.status, text)
        return json.loads(answer.body)

    def tasks(self, queue: str = "default") -> list[Task]:
        """Return the tasks that wait in `queue`, the next one to run first.

        Raises:
            StateApiError: there is no such queue.
        """
        listed = self.state("GET", "/queues")["queues"]
        found = next((entry for entry in listed if entry["name"] == queue), None)
        if found is None:
            raise StateApiError(404, f"There is no queue {queue!r}.")
        tasks = [self._task(queue, entry) for entry in found["tasks"]]
        return [task for task in tasks if task is not None]

    def _task(self, queue: str, entry: Mapping[str, Any]) -> Task | None:
        """Return a task of the list, or None where it no longer exists."""
        path = f"/queues/{quote(queue)}/tasks/{quote(entry['name'])}"
        try:
            detail = self.state("GET", path)
        except StateApiError as error:
            if error.status == 404:
                return None
            raise
        return Task(
            queue=queue,
            name=entry["name"],
            method=entry["method"],
            url=entry["url"] or "",
            due_in=entry["due_in"],
            retry_count=entry["retry_count"],
            headers={name.lower(): value for name, value in detail["headers"]},
            payload=base64.b64decode(detail["payload"]),
        )

    def advance(self, seconds: float) -> None:
        """Advance the clock; return when every task due by then has run."""
        self.state("POST", "/clock/advance", {"seconds": seconds})

    def purge(self, queue: str = "default") -> None:
        """Delete every task of `queue`; their names stay taken."""
        self.state("POST", f"/queues/{quote(queue)}/purge")

    def pause(self, queue: str = "default") -> None:
        """Hold the tasks of `queue` until it is resumed."""
        self.state("POST", f"/queues/{quote(queue)}/pause")

    def resume(self, queue: str = "default") -> None:
        """Run the tasks of `queue` again."""
        self.state("POST", f"/queues/{quote(queue)}/resume")

    def reset(self) -> None:
        """Delete entities, tasks, tombstones and memcache, and reset the clock."""
        self.state("POST", "/reset")
