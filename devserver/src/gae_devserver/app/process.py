"""One process of the app: how it starts, the environment it gets, how it ends."""

import contextlib
import dataclasses
import os
import secrets
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent import futures
from pathlib import Path
from typing import BinaryIO

from gae_devserver.app import call_sockets, gunicorn_options
from gae_devserver.app.log import AppLog
from gae_devserver.app.private_folder import make_private_folder
from gae_devserver.app.process_log import ProcessLog
from gae_devserver.app.python import OWN, Python
from gae_devserver.app.tty import Terminal
from gae_devserver.app.watched import Watched
from gae_devserver.config.app_yaml import AppConfig
from gae_devserver.config.reserved import is_reserved

STOP_SECONDS = 2.0
"""How long the app may take to end after SIGTERM; then it gets SIGKILL."""
_PROMPT_SECONDS = 1.0
# where each release of google-auth looks for it
_METADATA_SERVER = ("GCE_METADATA_HOST", "GCE_METADATA_IP", "GCE_METADATA_ROOT")
# connects google-cloud-tasks and the log to this server
_CONNECT = Path(__file__).with_name("connect")
# they would hide what is missing in requirements.txt, or lead to another Python
_OF_THE_SERVERS_PYTHON = ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV")


@dataclasses.dataclass(frozen=True)
class LaunchSettings:
    """What processes of the app get besides what app.yaml says."""

    project: str
    """The project ID; the app id is "dev~" and this."""
    api_port: int
    """The port on 127.0.0.1 for API calls."""
    grpc_port: int
    """The gRPC port on 127.0.0.1, for Cloud NDB and Cloud Tasks."""
    version: str = "1"
    """GAE_VERSION."""
    open_files: int | None = None
    """The app's soft limit on open files; None: that of this process."""
    terminal: Terminal | None = None
    """Its standard streams, in one process for each service; None: a pipe."""
    deployment: str = dataclasses.field(
        default_factory=lambda: str(secrets.randbelow(9 * 10**17) + 10**17)
    )
    """GAE_DEPLOYMENT_ID: 18 digits, new in each run of the server."""
    log: AppLog = dataclasses.field(default_factory=AppLog, compare=False, repr=False)
    """Shows what the app prints."""
    calls: call_sockets.CallSockets = dataclasses.field(
        default_factory=call_sockets.CallSockets, compare=False, repr=False
    )
    """Where the app makes API calls without HTTP."""


def environment(
    config: AppConfig, launch: LaunchSettings, python: Python, *, port: int
) -> dict[str, str]:
    """Return the variables of a process of the app that listens on `port`."""
    variables = _without_reserved(os.environ)
    for name in _OF_THE_SERVERS_PYTHON:
        variables.pop(name, None)
    for name in _METADATA_SERVER:
        variables.setdefault(name, f"127.0.0.1:{launch.api_port}")
    # app.yaml may replace these
    variables |= {
        # to use other emulators
        "CLOUD_TASKS_EMULATOR_HOST": f"127.0.0.1:{launch.grpc_port}",
        "DATASTORE_EMULATOR_HOST": f"127.0.0.1:{launch.grpc_port}",
        # a Unix socket has no address, so uvicorn's worker for gunicorn takes the
        # client's from X-Forwarded-For, which no client can set
        "FORWARDED_ALLOW_IPS": "*",
        # otherwise the SDK asks the metadata server of Google Cloud, for up to 2 s
        "LOCATION_ID": "us-central1",
        # otherwise the last log lines of a crash are lost in a buffer
        "PYTHONUNBUFFERED": "1",
        # the SDK takes an ETA without a time zone for local time
        "TZ": "UTC",
    }
    variables |= _without_reserved(config.env_variables)
    # First, so that no other `sitecustomize` hides the one in this folder.
    paths = (str(_CONNECT), variables.get("PYTHONPATH"))
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    # Exclude loopback from proxies: gRPC honors proxy variables for it too. Programs
    # read only one of the two variables, so each gets the exceptions of the other.
    exceptions = {name: variables.get(name) for name in ("no_proxy", "NO_PROXY")}
    if of_grpc := variables.get("no_grpc_proxy"):  # then gRPC reads no other one
        exceptions["no_grpc_proxy"] = of_grpc
    for name, value in exceptions.items():
        known = value or exceptions[name.swapcase()]
        variables[name] = ",".join(filter(None, [known, "localhost,127.0.0.1,::1"]))
    path = variables.get("PATH", os.defpath)
    if python.bin_folder != OWN.bin_folder and sys.prefix != sys.base_prefix:
        # a gunicorn of the server's environment would run the app with its packages
        folders = path.split(os.pathsep)
        server = str(OWN.bin_folder)
        path = os.pathsep.join(folder for folder in folders if folder != server)
    if (python.bin_folder.parent / "pyvenv.cfg").exists():
        variables["VIRTUAL_ENV"] = str(python.bin_folder.parent)
    app_id = f"dev~{launch.project}"
    return variables | {
        "API_HOST": "127.0.0.1",
        "API_PORT": str(launch.api_port),
        "APPLICATION_ID": app_id,
        "GAE_APPLICATION": app_id,
        "GAE_DEPLOYMENT_ID": launch.deployment,
        "GAE_ENV": "localdev",
        "GAE_INSTANCE": secrets.token_hex(16),
        "GAE_MEMORY_MB": str(config.memory_mb),
        "GAE_RUNTIME": config.runtime,
        "GAE_SERVICE": config.service,
        "GAE_VERSION": launch.version,
        "GOOGLE_CLOUD_PROJECT": launch.project,
        "PATH": f"{python.bin_folder}{os.pathsep}{path}",
        "PORT": str(port),
    }


class AppProcess:
    """The app, running under a watchdog that ends it with this process."""

    def __init__(
        self,
        config: AppConfig,
        launch: LaunchSettings,
        python: Python,
        *,
        label: str = "",
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        """Start the app with the programs and packages of `python`.

        `label` is put before each line that the app prints.

        Raises:
            OSError: the process cannot be started.
        """
        self.port = _free_port()
        self._folder = make_private_folder()
        self._socket = self._folder / "app.sock"
        private = f"unix:{self._socket}"
        entrypoint = gunicorn_options.with_private_address(
            config.entrypoint or gunicorn_options.default_entrypoint(config.scaling),
            private,
        )
        self._terminal = launch.terminal
        if self._terminal is not None:
            entrypoint = gunicorn_options.for_debugging(entrypoint, config.scaling)
            # the app cannot end by itself while it stops at a prompt
            stop_seconds = min(stop_seconds, _PROMPT_SECONDS)
        self.entrypoint = entrypoint
        """What the shell runs."""
        addresses = gunicorn_options.addresses(entrypoint)
        self.is_gunicorn = addresses is not None
        """Whether the entrypoint starts gunicorn directly."""
        self._has_socket = addresses == [] or private in (addresses or ())
        self._notice = gunicorn_options.notice(addresses, private)
        variables = environment(config, launch, python, port=self.port)
        # also reaches a gunicorn that another program or a script starts
        arguments = variables.get("GUNICORN_CMD_ARGS", "")
        if config.scaling != "automatic":
            # a background thread must begin in the process that asked for it
            arguments += " --workers 1"
        if self._terminal is not None:
            arguments += gunicorn_options.options_for_debugging(config.scaling)
        variables["GUNICORN_CMD_ARGS"] = gunicorn_options.with_limits_and_bind(
            arguments, private
        )
        # An app may delete everything in its folder for temporary files, which is its
        # own on App Engine.
        temporary = self._folder / "tmp"
        temporary.mkdir()
        variables["TMPDIR"] = config.env_variables.get("TMPDIR", str(temporary))
        self._log = ProcessLog(
            launch.log,
            config.folder,
            config.service,
            label,
            debugs=self._terminal is not None,
        )
        self._exit = futures.Future[int]()
        told = self._folder / "log.sock"
        source, output = None, None
        if self._terminal is None:
            reading, output = os.pipe()
            source, where = os.fdopen(reading, "rb"), str(os.fstat(output).st_ino)
        else:
            where = f"tty,{os.fstat(1).st_ino},{os.fstat(2).st_ino}"
        folder = config.folder.absolute()
        variables["GAE_DEVSERVER_LOG"] = f"{where}:{told}:{folder}"
        self._close_calls: Callable[[], object] = lambda: None
        try:
            self._log.listen(told)
            calls = self._folder / call_sockets.NAME
            self._close_calls = launch.calls.listen(calls)
            self._watched = Watched(
                entrypoint,
                folder=config.folder,
                environment=variables,
                stop_seconds=stop_seconds,
                output=output,
                private_folder=self._folder,
                open_files=launch.open_files,
            )
        except OSError:
            if source is not None:
                source.close()
            self._log.close()
            self._close_calls()
            self._remove_folder()
            raise
        finally:
            if output is not None:
                os.close(output)
        self._process = self._watched.process
        copier = threading.Thread(target=self._copy_output, args=(source,), daemon=True)
        copier.start()
        threading.Thread(target=self._wait, args=(copier,), daemon=True).start()

    @property
    def pid(self) -> int:
        """The id of the watchdog, the parent of the app's own processes."""
        return self._process.pid

    @property
    def socket_path(self) -> str | None:
        """The socket that the app listens on; None: it listens on its port.

        What a script or another program starts may be gunicorn, which makes the socket.
        """
        return str(self._socket) if self._has_socket or self._socket.exists() else None

    @property
    def notice(self) -> str | None:
        """A warning about a port that others can reach, if the app listens on one.

        If the entrypoint does not start gunicorn directly, it is true of an app that is
        ready.
        """
        if not self.is_gunicorn and self.socket_path is not None:
            return None
        return self._notice

    @property
    def exit_status(self) -> int | None:
        """The app's exit status when it has ended."""
        return self._exit.result() if self._exit.done() else None

    def stop(self) -> None:
        """Begin to end the app: SIGTERM, and later SIGKILL."""
        self._log.stop_advice()
        self._watched.stop()

    def wait(self, timeout: float) -> bool:
        """Block until the app has ended; return whether it has."""
        return bool(futures.wait([self._exit], timeout).done)

    def when_exited(self, call: Callable[[], object]) -> None:
        """Call a function when the app has ended: in another thread, or at once."""

        def call_if_open(_: object) -> None:
            # the event loop that waits for the call may be closed
            with contextlib.suppress(RuntimeError):
                call()

        self._exit.add_done_callback(call_if_open)

    def tail(self) -> str:
        """Return the last lines that the app printed."""
        return self._log.tail()

    def show_output(self) -> None:
        """Show what the app has printed and is not shown yet, as the server ends."""
        self._log.flush()

    def log_advice(self) -> None:
        """Log what to do about errors that the app has printed, and will print."""
        self._log.start_advice()

    def _copy_output(self, source: BinaryIO | None) -> None:
        """Copy what the app prints to the terminal, and keep the last lines."""
        if source is None:
            return  # it has the terminal itself
        begins = True
        with source:
            while line := source.readline(65536):
                self._log.print(line, begins=begins)
                # the next piece may be the rest of a long line
                begins = line.endswith(b"\n")

    def _wait(self, copier: threading.Thread) -> None:
        status = self._watched.wait()
        # a process that left the app's process group may still hold the pipe
        copier.join(2.0)
        if self._terminal is not None:
            self._terminal.restore()
        self._log.close()
        self._close_calls()
        self._remove_folder()
        self.stop()
        self._exit.set_result(status)

    def _remove_folder(self) -> None:
        # the watchdog does this too, in case this process is killed
        shutil.rmtree(self._folder, ignore_errors=True)


def _without_reserved(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in variables.items() if not is_reserved(name)}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
