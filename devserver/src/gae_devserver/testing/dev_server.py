"""Start the dev server, send requests to its app, and control its State API."""

import http.client
import json
import re
from collections.abc import Iterator, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode

from gae_devserver.clock import MAX_ADVANCE_SECONDS
from gae_devserver.testing.requests import TIMEOUT, Headers, Receiver, Response, send
from gae_devserver.testing.server_process import ServerProcess
from gae_devserver.testing.service import Service
from gae_devserver.testing.state import (
    Blob,
    Entity,
    Failure,
    Index,
    Mail,
    StateApiError,
    Task,
    TaskRun,
)

# pytest shows the line of a test that fails, and none of this module.
__tracebackhide__ = True

# A task may take 600 s.
_STATE_SECONDS = 660.0


class DevServer(Receiver):
    """The dev server in a process of its own, with one app on it."""

    state_url: str
    """Where the State API answers."""
    token: str
    """The token that changes through the State API require."""
    datastore_host: str
    """DATASTORE_EMULATOR_HOST for Cloud NDB outside the app."""
    cloud_tasks_host: str
    """CLOUD_TASKS_EMULATOR_HOST for clients of Cloud Tasks outside the app."""

    def __init__(
        self,
        app: str | PathLike[str] | Sequence[str | PathLike[str]],
        *options: str,
        python: str | PathLike[str] | None = None,
        log_file: str | PathLike[str] | None = None,
        reload: bool = False,
    ) -> None:
        """Start the server; return when the app is ready.

        Args:
            app: the folder that holds app.yaml, or the YAML file itself; for several
                services, a list of these.
            options: options of the command line. Each port is a free one unless they
                name it. Those in pyproject.toml do not count.
            python: the Python that runs the app, or the folder of its environment. By
                default, the server makes an environment from requirements.txt.
            log_file: where to write what the server and the app print. By default, a
                temporary file.
            reload: whether a changed file restarts the app.

        Raises:
            ServerEndedError: the server ended. The text shows what it printed.
            TimeoutError: the app was not ready in time. The text shows the same.
        """
        apps = [app] if isinstance(app, str | PathLike) else app
        # a file of the developer, such as one with a storage, is not for tests
        own = ("--no-pyproject", "--port=0", "--console-port=0")
        arguments = [*(fspath(path) for path in apps), *own]
        arguments.append("--reload" if reload else "--no-reload")
        if python is not None:
            arguments.append(f"--python={fspath(python)}")
        self._process = ServerProcess([*arguments, *options], log_file)
        try:
            self._process.wait_for_start()
            self.url = self.wait_for_log(r"^\s+App\s+(http://\S+)")[1]
            self.state_url = self.wait_for_log(r"^\s+State API\s+(http://\S+)")[1]
            self.token = self.wait_for_log(r"^\s+Token\s+(\S+)")[1]
            host = self.wait_for_log(r"DATASTORE_EMULATOR_HOST=(\S+)")
            self.datastore_host = self.cloud_tasks_host = host[1]
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- the process and its log ------------------------------------------------------

    def stop(self) -> None:
        """Stop the server, which stops the app."""
        self._process.stop()

    def kill(self) -> None:
        """Kill the server with SIGKILL, as the system does when memory runs out."""
        self._process.kill()

    @property
    def pid(self) -> int:
        """The server's process ID."""
        return self._process.pid

    @property
    def log_file(self) -> Path:
        """The file with everything that the server and the app print."""
        return self._process.log_file

    def log(self) -> str:
        """Return what the server and the app have printed since the last reset."""
        return self._process.log()

    def wait_for_log(self, pattern: str, seconds: float = 20.0) -> re.Match[str]:
        """Wait for a match in `log`, and return it; ^ and $ match at each line.

        Raises:
            ServerEndedError: the server ended before. The text shows what it printed.
            TimeoutError: nothing matched in time. The text shows the same.
        """
        return self._process.wait_for_log(pattern, seconds)

    # --- the app ----------------------------------------------------------------------

    @property
    def services(self) -> list[str]:
        """The names of the app's services, the main one first."""
        return [shown["name"] for shown in self.state("GET", "/services")["services"]]

    def service(self, name: str) -> Service:
        """Return a service of the app.

        Raises:
            ValueError: the server runs no such service.
        """
        listed = self.state("GET", "/services")["services"]
        for shown in listed:
            if shown["name"] == name:
                return Service(name, shown["version"], shown["url"], self._send)
        names = ", ".join(shown["name"] for shown in listed)
        raise ValueError(f"this server runs no service {name!r}, only: {names}")

    def sign_in(self, email: str, *, admin: bool = False) -> dict[str, str]:
        """Sign a user in; return the headers of requests that this user makes.

        A reset signs every user out.

        Raises:
            ValueError: this is not an e-mail address.
        """
        form = urlencode({"email": email, "admin": admin}).encode()
        content_type = "application/x-www-form-urlencoded"
        headers = {"Origin": self.url, "Content-Type": content_type}
        answer = self.post("/_ah/login", form, headers)
        cookie: str | None = answer.headers["Set-Cookie"]
        if cookie is None:
            raise ValueError(f"{email!r} is not an e-mail address")
        return {"Cookie": cookie.partition(";")[0]}

    def _send(
        self,
        url: str,
        method: str,
        target: str,
        headers: Headers,
        body: bytes | None,
        seconds: float = TIMEOUT,
    ) -> Response:
        try:
            return send(url, method, target, headers, body, seconds)
        except TimeoutError:
            fault = f"{method} {target} was not answered within {seconds:g} s"
            raise TimeoutError(self._process.explain(fault)) from None
        except (OSError, http.client.HTTPException):
            if ended := self._process.ended(within=0.5):
                raise ended from None
            raise

    # --- the State API ----------------------------------------------------------------

    def state(self, method: str, path: str, body: object = None) -> Any:
        """Call the State API and return its answer, decoded.

        Raises:
            StateApiError: the answer is not 200.
            ServerEndedError: the server has ended. The text shows what it printed.
        """
        content = json.dumps({} if body is None else body).encode()
        answer = self._send(
            self.state_url,
            method,
            path,
            [("Content-Type", "application/json"), ("X-Devserver-Token", self.token)],
            content if method == "POST" or body is not None else None,
            _STATE_SECONDS,
        )
        is_json = answer.content_type == "application/json"
        decoded = json.loads(answer.body) if is_json else {"error": answer.text}
        if answer.status != 200:
            text = f"{method} {path}: {answer.status} {decoded['error']}"
            raise StateApiError(answer.status, text)
        return decoded

    def _pages(self, path: str, items: str, **query: str) -> Iterator[Any]:
        """Yield the items of a list that the State API shows in pages."""
        while True:
            page = self.state("GET", f"{path}?{urlencode(query)}")
            yield from page[items]
            if page["cursor"] is None:
                return
            query["cursor"] = page["cursor"]

    def tasks(self, queue: str = "default") -> list[Task]:
        """Return the tasks that wait in `queue`, the next one to run first.

        Raises:
            StateApiError: there is no such queue.
        """
        path = f"/queues/{quote(queue, safe='')}/tasks"
        return [Task.from_json(queue, shown) for shown in self._pages(path, "tasks")]

    def advance(self, seconds: float) -> None:
        """Advance the clock; return when every task due by then has run.

        Raises:
            ValueError: the clock cannot be advanced by so many seconds.
            StateApiError: the app does not run, or its tasks add others forever.
        """
        if not 0 <= seconds <= MAX_ADVANCE_SECONDS:
            raise ValueError(
                f"the clock cannot be advanced by {seconds!r} s, only by 0 to "
                f"{MAX_ADVANCE_SECONDS} s"
            )
        self.state("POST", "/clock/advance", {"seconds": seconds})

    def run_next_task(self) -> TaskRun | None:
        """Return the next task that ran, or None if no task waits.

        If no task has run since the last call of this, `advance` or `reset`, the clock
        advances to the next task. A task that is due runs by itself, perhaps before
        this call, which then returns it.

        Raises:
            StateApiError: the app does not run, or its tasks add others forever.
        """
        shown = self.state("POST", "/run_next_task")["task"]
        if shown is None:
            return None
        return TaskRun.from_json(shown["queue"], shown, status=shown["status"])

    def run_cron(self, job: str | int) -> int:
        """Run a job of cron.yaml now; return the status of the app's answer, or 0.

        This needs no option `--cron`. If the job fails, its `retry_parameters` decide
        whether it runs again.

        Args:
            job: its URL, or its place in cron.yaml from 0 on if several have one URL.

        Raises:
            StateApiError: there is no such job, it runs already, or the app does not.
        """
        named = {"url": job} if isinstance(job, str) else {"index": job}
        status: int = self.state("POST", "/cron/run", named)["status"]
        return status

    def entities(self, kind: str, namespace: str = "") -> list[Entity]:
        """Return the entities of a kind in the order of their keys.

        Raises:
            StateApiError: no entity can have this kind or namespace.
        """
        shown = self._pages("/entities", "entities", kind=kind, namespace=namespace)
        return [Entity.from_json(entity) for entity in shown]

    def blobs(self) -> list[Blob]:
        """Return the uploaded files, in the order of their keys."""
        return [Blob.from_json(blob) for blob in self._pages("/blobs", "blobs")]

    def mails(self) -> list[Mail]:
        """Return the mails that the app has sent, the first one first."""
        # the list leaves out what the attachments contain
        return [
            Mail.from_json(self.state("GET", f"/mails/{listed['id']}"))
            for listed in self._pages("/mails", "mails")
        ]

    def receive_mail(
        self,
        to: str,
        sender: str = "sender@example.com",
        subject: str = "",
        body: str = "",
        message: bytes | None = None,
    ) -> int:
        """Send a mail to the app; return the status of its answer, or 0.

        Args:
            to: the address, which the app finds in the path.
            sender: the sender of a mail that is only a text.
            subject: its subject.
            body: its text.
            message: instead of these, the whole message, such as `bytes(EmailMessage)`.

        Raises:
            StateApiError: app.yaml has no `inbound_services: [mail]`, or the app does
                not run.
        """
        mail = {"to": to, "from": sender, "subject": subject, "body": body}
        if message is not None:
            mail = {"to": to, "raw": message.decode("utf-8", "surrogateescape")}
        status: int = self.state("POST", "/mails/in", mail)["status"]
        return status

    def missing_indexes(self) -> list[Index]:
        """Return the indexes that queries have needed and index.yaml lacks."""
        shown = self.state("GET", "/indexes")["missing"]
        return [Index.from_json(index) for index in shown]

    def last_failure(self) -> Failure | None:
        """Return the exception of the last request or task with one since the reset."""
        shown = self.state("GET", "/requests/last_failure")
        return None if shown["failure"] is None else Failure.from_json(shown)

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
        """Return to the state after the start.

        This deletes entities, tasks, task names, blobs, mails and memcache, signs users
        out, resumes queues, resets the clock, forgets missing indexes, and begins a new
        `log`. The app restarts only if a request does not end within five seconds.
        """
        self.state("POST", "/reset")
        self._process.begin_section()
