"""The one instance of an app with manual or basic scaling.

App Engine starts such an instance with a request, lets it run background threads, and
tells it when it ends. The threads run in requests to `/_ah/background`, which the SDK's
middleware answers: it calls the function that the app has passed, which only the
process has that asked for the thread.
https://cloud.google.com/appengine/docs/standard/how-instances-are-managed
"""

import asyncio
import logging
import secrets

from google.appengine.api.system import system_service_pb2 as pb
from google.appengine.runtime import apiproxy_errors
from multidict import CIMultiDict

from gae_devserver.app import gunicorn_options
from gae_devserver.app.client import Request
from gae_devserver.app.process import AppProcess
from gae_devserver.app.supervisor import AppUnavailable
from gae_devserver.config.app_yaml import AppConfig
from gae_devserver.http.app_sender import AppSender
from gae_devserver.http.forwarding import reason_of
from gae_devserver.http.running_requests import RunningRequests
from gae_devserver.terminal import Labelled

logger = logging.getLogger("gae_devserver.request")

_IP = "0.1.0.3"  # by this address, the SDK recognizes these requests
_MAX_THREADS = 10
_ERRORS = pb.SystemServiceError


class Instance:
    """Starts and stops the instance, and runs its background threads."""

    def __init__(
        self,
        config: AppConfig,
        sender: AppSender,
        requests: RunningRequests,
        *,
        label: str = "",
        patience: float = 10.0,
        stop_seconds: float = 0.5,
    ) -> None:
        """Make the instance of an app, which has to be started.

        Args:
            config: the app, whose scaling does not change.
            sender: sends requests to it.
            requests: the requests that run.
            label: is put before each log line.
            patience: after so many seconds without an answer, a line says so.
            stop_seconds: how long the app may take for `/_ah/stop`.
        """
        self._config = config
        self._sender = sender
        self._requests = requests
        self._log = Labelled(logger, label)
        self._patience = patience
        self._stop_seconds = stop_seconds
        self._process: AppProcess | None = None
        self._threads: set[asyncio.Task[None]] = set()

    async def start(self, process: AppProcess) -> None:
        """Send `/_ah/start` to a process, before it gets other requests.

        Raises:
            AppUnavailable: the answer is an error, so the instance has not started.
        """
        self._process = process
        slow = asyncio.get_running_loop().call_later(
            self._patience,
            self._log.warning,
            "GET /_ah/start is not answered yet; all other requests wait for it",
        )
        try:
            status = await self._send("/_ah/start")
            fault = f"was answered with status {status}"
        except OSError as error:
            status, fault = 0, f"failed: {reason_of(error)}"
        finally:
            slow.cancel()
        if status != 404 and not 200 <= status < 300:
            process.stop()
            self._process = None
            raise AppUnavailable(
                f"GET /_ah/start {fault}. With manual or basic scaling, an instance "
                f"starts only after 404 or 200 to 299.\n\n{process.tail()}".rstrip()
            )
        self._log.info("GET /_ah/start %d", status)

    async def stop(self) -> None:
        """Send `/_ah/stop`, if there is time; the process may end after this."""
        for thread in self._threads:
            thread.cancel()
        if self._process is not None and self._process.exit_status is None:
            try:
                status = await self._send("/_ah/stop", deadline=self._stop_seconds)
                self._log.info("GET /_ah/stop %d", status)
            except OSError as error:
                self._log.debug("GET /_ah/stop failed: %s", reason_of(error))

    def start_background_thread(self, ticket: str) -> str:
        """Return the ID of a new thread, for the request that asks for it.

        Raises:
            apiproxy_errors.ApplicationError: the app can have no thread, or no more.
        """
        if self._config.scaling == "automatic":
            refuse_background_thread(ticket)
        workers = gunicorn_options.workers(self._config.entrypoint or "")
        if workers > 1:
            raise apiproxy_errors.ApplicationError(
                _ERRORS.INTERNAL_ERROR,
                f"the entrypoint starts {workers} processes, and a background thread "
                "may begin in one that does not have its function. Write "
                "--workers 1 --threads 20",
            )
        if len(self._threads) >= _MAX_THREADS:
            raise apiproxy_errors.ApplicationError(
                _ERRORS.LIMIT_REACHED,
                f"the instance runs {_MAX_THREADS} background threads already",
            )
        thread_id = secrets.token_hex(8)
        task = asyncio.get_running_loop().create_task(self._run(thread_id, ticket))
        self._threads.add(task)
        task.add_done_callback(self._threads.discard)
        return thread_id

    async def _run(self, thread_id: str, ticket: str) -> None:
        slow = asyncio.get_running_loop().call_later(
            self._patience, self._log_if_running, ticket
        )
        try:
            self._log.info("GET /_ah/background: a background thread starts")
            status = await self._send("/_ah/background", thread_id)
            fault = None if status == 200 else f"status {status}"
        except OSError as error:
            fault = reason_of(error)
        finally:
            slow.cancel()
        if fault is None:
            self._log.info("GET /_ah/background: a background thread has ended")
        else:
            self._log.warning(
                "GET /_ah/background: a background thread failed: %s", fault
            )

    def _log_if_running(self, ticket: str) -> None:
        if ticket in self._requests:
            self._log.warning(
                "a request has started a background thread, and still runs after "
                "%g s. If it waits for the thread, the app has no free thread: the "
                "entrypoint needs gunicorn with --workers 1 --threads 20",
                self._patience,
            )

    async def _send(
        self, path: str, thread_id: str | None = None, deadline: float | None = None
    ) -> int:
        headers: CIMultiDict[str] = CIMultiDict()
        if thread_id is not None:
            headers["X-AppEngine-BackgroundRequest"] = thread_id
        return await self._sender.status_of(
            self._find, Request("GET", path, headers), ip=_IP, deadline=deadline
        )

    async def _find(self) -> AppProcess:
        # the supervisor has no process while /_ah/start runs
        if self._process is None:
            raise AppUnavailable("The app is starting.")
        return self._process


def refuse_background_thread(ticket: str) -> str:
    """Refuse a background thread with automatic scaling.

    Raises:
        apiproxy_errors.ApplicationError: always.
    """
    raise apiproxy_errors.ApplicationError(
        _ERRORS.BACKEND_REQUIRED,
        "background threads need manual or basic scaling. Add to app.yaml, for example:"
        " manual_scaling: {instances: 1}",
    )
