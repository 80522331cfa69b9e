"""The command line: options, start-up, exit codes."""

import argparse
import contextlib
import ipaddress
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from gae_devserver.app.hints import Hints

if TYPE_CHECKING:
    from gae_devserver.app.process import AppProcess
    from gae_devserver.faults import Faults

PROG = "gae-devserver"
NO_HINTS = Hints()

# the app's first process, which a signal ends while the server is still starting
_started: "list[AppProcess]" = []


def main(hints: Hints = NO_HINTS, system: str = os.name) -> NoReturn:
    """Run the server; exit with 0 after a signal, 2 for a mistake, else 1."""
    parent = os.getppid()
    if system == "posix":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # once the event loop runs, the server handles them
            signal.signal(number, lambda *_: _exit(0))
    options = _parser().parse_args()
    if system != "posix":
        _fail(1, "this server runs on Linux and macOS. On Windows, use WSL.")
    try:
        _serve(options, parent, hints)
    except ModuleNotFoundError as error:
        _fail(
            1,
            f"the package {error.name} is not installed for {sys.executable}. "
            "Install gae-devserver for it again.",
        )
    _exit(0)


def _serve(options: argparse.Namespace, parent: int, hints: Hints) -> None:
    # These imports are quick. The slow ones come later, while the app starts.
    from gae_devserver import terminal
    from gae_devserver.app.process import AppProcess, LaunchSettings
    from gae_devserver.config.app_yaml import load_app_yaml
    from gae_devserver.config.parsing import ConfigError
    from gae_devserver.http import sockets
    from gae_devserver.storage.storage import Storage, StorageError

    terminal.set_up_logging(options.log_level)
    try:
        config = load_app_yaml(options.app_folder)
        front_sockets = sockets.listen(options.port, options.host)
        storage = Storage(options.storage, options.project) if options.storage else None
    except (ConfigError, sockets.PortError, StorageError) as error:
        _fail(2, str(error))
    terminal.log_warnings(config)
    if options.host is not None:
        exposed = sockets.what_is_exposed(options.host, front_sockets)
        terminal.logger.warning("%s", exposed)
    api_socket = sockets.listen_on("127.0.0.1", 0)
    state_socket = sockets.listen_on("127.0.0.1", 0)
    # holds the port of the datastore for Cloud NDB, whose server listens later
    datastore_socket = sockets.reserve_port()
    launch = LaunchSettings(
        project=options.project,
        version=config.version or time.strftime("%Y%m%dt%H%M%S"),
        api_port=api_socket.getsockname()[1],
        datastore_port=datastore_socket.getsockname()[1],
    )
    try:
        process = AppProcess(config, launch)
    except OSError as error:
        _fail(1, f"cannot start the app: {error}")
    _started.append(process)
    if process.notice and process.is_gunicorn:  # others get it when the app is ready
        terminal.logger.warning("%s", process.notice)

    import asyncio

    from gae_devserver import server
    from gae_devserver.app.supervisor import AppUnavailable
    from gae_devserver.tasks import execution

    settings = server.Settings(
        launch=launch,
        parent=parent,
        front_sockets=front_sockets,
        api_socket=api_socket,
        state_socket=state_socket,
        reload=options.reload,
        open_browser=options.open,
        storage=storage,
        faults=options.faults,
        task_deadline=options.task_deadline or execution.DEADLINE,
        hints=hints,
    )
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(server.run(settings, config, process))
    except (ConfigError, StorageError) as error:
        _fail(2, str(error))
    except AppUnavailable as error:
        # the rest of the text is what the app printed, which is on the terminal
        _fail(1, str(error).partition("\n")[0])


class _Parser(argparse.ArgumentParser):
    """Reports a mistake in one line, without the usage message."""

    def error(self, message: str) -> NoReturn:
        """Exit with status 2."""
        text = message.removeprefix("argument ")
        _fail(2, f"{text[0].upper()}{text[1:]}. For help, add --help.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROG,
        description="Run an App Engine app on this machine, with task queues, "
        "the datastore and the other bundled services. For development only.",
    )
    parser.add_argument(
        "app_folder",
        type=_folder,
        metavar="APP_FOLDER",
        help="the folder that holds app.yaml",
    )
    parser.add_argument(
        "--port",
        type=_port,
        default=8080,
        help="the port on which the app answers; 0 picks a free one "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--host",
        type=_address,
        metavar="ADDRESS",
        help="one more IP address to listen on, so that other machines can use the "
        "app; 0.0.0.0 for all addresses (default: this machine only)",
    )
    parser.add_argument(
        "--project",
        type=_project,
        default="sample-project",
        metavar="NAME",
        help="the project ID that the app gets (default: %(default)s)",
    )
    parser.add_argument(
        "--reload",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="restart the app when one of its files changes (default: on)",
    )
    parser.add_argument(
        "--storage",
        type=_folder,
        metavar="DIR",
        help="keep entities and tasks in this folder for the next run (default: keep "
        "them in memory)",
    )
    parser.add_argument(
        "--task-deadline",
        type=_seconds,
        metavar="SECONDS",
        help="the time limit of a task; the server retries a task that takes longer "
        "(default: 600)",
    )
    parser.add_argument(
        "--faults",
        type=_faults,
        metavar="SPEC",
        help="for tests: inject faults such as duplicate tasks and killed workers, "
        "for example twice=0.1,kill=0.02,seed=7 (the README explains each)",
    )
    parser.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="info",
        help="the lowest level of the server's own log lines (default: %(default)s)",
    )
    parser.add_argument(
        "--open", action="store_true", help="open the app in a browser when it is ready"
    )
    return parser


def _folder(text: str) -> Path:
    """Return a path as typed, but resolved if it has "..": messages show it."""
    path = Path(text)
    return path.resolve() if ".." in path.parts else path


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number from 0 to 65535. Write for example --port 8080"
        )
    return int(text)


def _address(text: str) -> str | None:
    """Return an IP address; None for those on which the server listens anyway."""
    try:
        address = str(ipaddress.ip_address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an IP address. Write for example --host 0.0.0.0, or "
            "leave --host out to listen on localhost"
        ) from None
    return None if address in ("127.0.0.1", "::1") else address


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0.0 < float(text) < 1e6:
            return float(text)
    raise argparse.ArgumentTypeError(
        f"{text!r} is not a number of seconds above 0 and below 1000000. Write for "
        "example --task-deadline 60"
    )


def _faults(text: str) -> "Faults":
    from gae_devserver.faults import Faults

    try:
        return Faults.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{error}. Write for example --faults twice=0.1,kill=0.02"
        ) from None


def _project(text: str) -> str:
    # https://cloud.google.com/resource-manager/docs/creating-managing-projects
    if not re.fullmatch(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a project ID. A project ID has 6 to 30 lowercase "
            "letters, digits and hyphens, and starts with a letter. Write for example "
            "--project my-project"
        )
    return text


def _fail(status: int, message: str) -> NoReturn:
    # end the app first, so that the error is the last line
    _end_app()
    print(f"{PROG}: error: {message}", file=sys.stderr)
    _exit(status)


def _end_app() -> None:
    for process in _started:
        # quick, as the module is loaded once the app is started
        from gae_devserver.app.process import STOP_SECONDS

        process.stop()
        # the app gets SIGKILL after STOP_SECONDS
        process.wait(STOP_SECONDS + 0.5)


def _exit(status: int) -> NoReturn:
    """End the app and this process, without waiting for any thread."""
    _end_app()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    # a thread may wait for a slow request to another server
    os._exit(status)


if __name__ == "__main__":
    main()
