"""One process of the app: how it is started, the environment it gets, its end."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from gae_devserver.app import gunicorn_options
from gae_devserver.config.app_yaml import AppConfig
from gae_devserver.config.warnings import RESERVED_VARIABLES

# what App Engine runs when app.yaml has no entrypoint:
# https://cloud.google.com/appengine/docs/standard/python3/runtime#application_startup
DEFAULT_ENTRYPOINT = "gunicorn main:app"
_WATCHDOG = Path(__file__).with_name("watchdog.py")
# a traceback through gunicorn and the SDK has about 60 lines
_TAIL_LINES = 100
# a socket's path may have 104 bytes on macOS, 108 on Linux
_MAX_SOCKET_PATH = 100


def environment(
    config: AppConfig,
    *,
    project: str,
    version: str,
    api_port: int,
    datastore_port: int,
    port: int,
) -> dict[str, str]:
    """Return the environment of the app's process.

    Args:
        config: the app's app.yaml.
        project: the project's name; the app id is "dev~" and this.
        version: GAE_VERSION.
        api_port: the port on 127.0.0.1 that takes API calls.
        datastore_port: the port on 127.0.0.1 for Cloud NDB.
        port: what goes into PORT.
    """
    variables = {
        name: value
        for name, value in os.environ.items()
        if name not in RESERVED_VARIABLES and not name.startswith("GAE_")
    }
    # the log lines of a crash would otherwise be lost in a buffer
    variables["PYTHONUNBUFFERED"] = "1"
    # before app.yaml's variables: whoever names another emulator there means it
    variables["DATASTORE_EMULATOR_HOST"] = f"127.0.0.1:{datastore_port}"
    variables |= {
        name: value
        for name, value in config.env_variables.items()
        if name not in RESERVED_VARIABLES and not name.startswith("GAE_")
    }
    # exclude loopback from proxies: gRPC honours proxy variables for it too
    exceptions = {name: variables.get(name) for name in ("no_proxy", "NO_PROXY")}
    for name, value in exceptions.items():
        # where both are there, programs read but one of them
        known = value or exceptions[name.swapcase()]
        variables[name] = ",".join(filter(None, [known, "localhost,127.0.0.1,::1"]))
    # the gunicorn of a virtual environment that nobody activated
    bin_folder = Path(sys.executable).parent
    path = variables.get("PATH", os.defpath)
    return variables | {
        "API_HOST": "127.0.0.1",
        "API_PORT": str(api_port),
        "APPLICATION_ID": f"dev~{project}",
        "GAE_APPLICATION": f"dev~{project}",
        "GAE_ENV": "localdev",
        "GAE_INSTANCE": secrets.token_hex(16),
        "GAE_MEMORY_MB": str(config.memory_mb),
        "GAE_RUNTIME": config.runtime,
        "GAE_SERVICE": config.service,
        "GAE_VERSION": version,
        "GOOGLE_CLOUD_PROJECT": project,
        "PATH": f"{bin_folder}{os.pathsep}{path}",
        "PORT": str(port),
    }


class AppProcess:
    """The app, running under a watchdog that ends it with this process."""

    def __init__(
        self,
        config: AppConfig,
        *,
        project: str,
        version: str,
        api_port: int,
        datastore_port: int,
    ) -> None:
        """Start the app; `environment` has the arguments.

        Raises:
            OSError: the process cannot be started.
        """
        entrypoint = gunicorn_options.on_loopback(
            config.entrypoint or DEFAULT_ENTRYPOINT
        )
        self.port = _free_port()
        self.socket_path: str | None = None
        self.exit_status: int | None = None
        variables = environment(
            config,
            project=project,
            version=version,
            api_port=api_port,
            datastore_port=datastore_port,
            port=self.port,
        )
        options = gunicorn_options.options_of(entrypoint)
        self.is_gunicorn = options is not None
        """Whether nothing else stands between this process and gunicorn."""
        # for a gunicorn behind something else, which would listen on all addresses
        bind = f"127.0.0.1:{self.port}"
        if options is not None and not gunicorn_options.has_bind(options):
            self.socket_path = _make_socket_path()
            bind = f"unix:{self.socket_path}"
        variables["GUNICORN_CMD_ARGS"] = gunicorn_options.with_bind(
            variables.get("GUNICORN_CMD_ARGS", ""), bind
        )
        self.notice = _notice(options, self.socket_path)
        self._tail: deque[bytes] = deque(maxlen=_TAIL_LINES)
        self._exited = threading.Event()
        self._on_exit: list[Callable[[], object]] = []
        self._lock = threading.Lock()
        watched_end, self._held_end = os.pipe()
        try:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", str(_WATCHDOG)),
                    *(str(watched_end), self.socket_path or "", entrypoint),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=str(config.folder),
                env=variables,
                pass_fds=(watched_end,),
                # a Ctrl-C in the terminal is for the server, which ends the app
                start_new_session=True,
            )
        except OSError:
            self.stop()
            self._remove_socket()
            raise
        finally:
            os.close(watched_end)
        assert self._process.stdout is not None
        copier = threading.Thread(
            target=self._copy_output, args=(self._process.stdout,), daemon=True
        )
        copier.start()
        threading.Thread(target=self._wait, args=(copier,), daemon=True).start()

    @property
    def pid(self) -> int:
        """The id of the watchdog, the parent of the app's own processes."""
        return self._process.pid

    def stop(self) -> None:
        """Begin to end the app: SIGTERM, and SIGKILL after two seconds."""
        with self._lock:
            if self._held_end >= 0:
                os.close(self._held_end)
                self._held_end = -1

    def wait(self, timeout: float) -> bool:
        """Wait in this thread until the app has ended; say whether it has."""
        return self._exited.wait(timeout)

    def when_exited(self, call: Callable[[], object]) -> None:
        """Call a function, in another thread, when the app has ended."""
        with self._lock:
            if self.exit_status is None:
                self._on_exit.append(call)
                return
        call()

    def tail(self) -> str:
        """Return the last lines that the app printed."""
        return b"".join(self._tail.copy()).decode("utf-8", "replace")

    def _copy_output(self, source: BinaryIO) -> None:
        """Copy what the app prints to the terminal, and keep the end of it."""
        with source:
            while line := source.readline(65536):
                self._tail.append(line)
                # the app would block on a full pipe if nobody read on
                with contextlib.suppress(OSError, ValueError):
                    sys.stderr.buffer.write(line)
                    sys.stderr.buffer.flush()

    def _wait(self, copier: threading.Thread) -> None:
        status = self._process.wait()
        # something that left the app's process group may still hold the pipe
        copier.join(0.5)
        self._remove_socket()
        with self._lock:
            self.exit_status = status
            calls = self._on_exit
        self._exited.set()
        self.stop()
        for call in calls:
            # an event loop that was to hear of it may be closed by now
            with contextlib.suppress(RuntimeError):
                call()

    def _remove_socket(self) -> None:
        # the watchdog does so too, for the case that this process is gone
        if self.socket_path is not None:
            shutil.rmtree(Path(self.socket_path).parent, ignore_errors=True)


def _notice(options: list[str] | None, socket_path: str | None) -> str | None:
    """Return what to know about the app's own port, where it has one."""
    if socket_path is not None:
        return None
    if options is not None:
        network = "" if gunicorn_options.is_on_loopback(options) else "and its network "
        elsewhere = (
            "gunicorn does not listen on $PORT, so it gets no requests, here or on App "
            "Engine. Also, "
        )
        if gunicorn_options.is_on_port(options):
            elsewhere = ""
        return (
            f"{elsewhere}the entrypoint sets gunicorn's address, so every user of this "
            f"machine {network}can reach the app's own port and forge App Engine's "
            "headers. Remove -b from the entrypoint: gunicorn then listens on $PORT on "
            "App Engine, and here on a socket that only you can open."
        )
    return (
        "the app listens on a port of its own, so every user of this machine can reach "
        "it and forge App Engine's headers. Other machines can too, unless the app "
        "listens only on 127.0.0.1."
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _make_socket_path() -> str:
    """Return a path for a socket in a new folder that only this user can enter."""
    for parent in (None, "/tmp"):
        folder = Path(tempfile.mkdtemp(prefix="devserver-", dir=parent))
        path = folder / "app.sock"
        if len(os.fsencode(path)) < _MAX_SOCKET_PATH:
            return str(path)
        folder.rmdir()
    raise OSError("the path of the folder for temporary files is too long. Set TMPDIR")
