"""The command line: options, banner, exit codes."""

import argparse
import errno
import os
import re
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from devserver.app_process import AppProcess

PROG = "python -m devserver"

_LOG_LEVELS = ("debug", "info", "warning", "error")
_BACKLOG = 1024
_FREE_PORT_TRIES = 20
_APP_STOP_SECONDS = 2.5

# what a signal has to end while the server is still starting
_started: "list[AppProcess]" = []


class PortError(Exception):
    """The server cannot listen on its port; the message is for the user."""


def main() -> NoReturn:
    """Run the server; leave with 0 after a signal, 2 for a mistake, else 1."""
    parent = os.getppid()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _leave_at_once)
    options = _parser().parse_args()
    if os.name != "posix":
        _fail(1, "this server runs on Linux and macOS. On Windows, use WSL.")
    try:
        _serve(options, parent)
    except ModuleNotFoundError as error:
        _fail(
            1,
            f"the package {error.name} is missing in {sys.executable}. Start the "
            "server with: python3 noxfile.py -s serve -- flask",
        )
    _leave(0)


def _serve(options: argparse.Namespace, parent: int) -> None:
    # What is imported here is little. The rest takes longer, and is imported while
    # the app starts.
    from devserver import console
    from devserver.app_process import AppProcess
    from devserver.config import ConfigError, load_app_yaml

    console.set_up_logging(options.log_level)
    try:
        config = load_app_yaml(options.app_folder)
        front_sockets = _listen(options.port)
    except (ConfigError, PortError) as error:
        _fail(2, str(error))
    console.log_warnings(config)
    api_socket, state_socket = (_listen_on("127.0.0.1", 0) for _ in range(2))
    datastore_socket = _reserve_port()
    version = config.version or time.strftime("%Y%m%dt%H%M%S")
    try:
        process = AppProcess(
            config,
            project=options.project,
            version=version,
            api_port=api_socket.getsockname()[1],
            datastore_port=datastore_socket.getsockname()[1],
        )
    except OSError as error:
        _fail(1, f"the app cannot be started: {error}")
    _started.append(process)
    if process.notice:
        console.logger.warning("%s", process.notice)

    import asyncio

    from devserver import server
    from devserver.supervisor import AppUnavailable

    settings = server.Settings(
        project=options.project,
        version=version,
        parent=parent,
        front_sockets=front_sockets,
        api_socket=api_socket,
        state_socket=state_socket,
        datastore_socket=datastore_socket,
        reload=options.reload,
        open_browser=options.open,
    )
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(server.run(settings, config, process))
    except ConfigError as error:
        _fail(2, str(error))
    except AppUnavailable as error:
        _fail(1, _what_to_do(str(error), options.app_folder))


def _what_to_do(error: str, folder: Path) -> str:
    """Return how to go on after the app has died; what it printed is shown by now."""
    summary = error.partition("\n")[0]
    # 127 is the shell's status for a program that it does not find
    if "ModuleNotFoundError" in error or "exit status 127" in summary:
        return (
            f"{summary} A package is missing in {sys.executable} (see above). Name it "
            f"in {folder / 'requirements.txt'}, install that file, and start again; "
            "noxfile.py installs it by itself."
        )
    return f"{summary} What it printed is above. Mend that, and start the server again."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROG,
        description="Run an App Engine app on this machine, with task queues, "
        "datastore and the other bundled services. For development only.",
    )
    parser.add_argument(
        "app_folder",
        type=Path,
        metavar="APP_FOLDER",
        help="the folder that holds app.yaml",
    )
    parser.add_argument(
        "--port",
        type=_port,
        default=8080,
        help="where the app answers; 0 picks a free port (default: %(default)s)",
    )
    parser.add_argument(
        "--project",
        type=_project,
        default="sample-project",
        metavar="NAME",
        help="the project the app believes to be in (default: %(default)s)",
    )
    parser.add_argument(
        "--reload",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="restart the app when one of its files changes (default: on)",
    )
    parser.add_argument(
        "--log-level",
        choices=_LOG_LEVELS,
        default="info",
        help="what the server itself logs (default: %(default)s)",
    )
    parser.add_argument(
        "--open", action="store_true", help="open the app in a browser when it is ready"
    )
    return parser


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 65535")
    return int(text)


def _project(text: str) -> str:
    # https://cloud.google.com/resource-manager/docs/creating-managing-projects
    if not re.fullmatch(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a project id: 6 to 30 lower-case letters, digits and "
            "hyphens, the first a letter"
        )
    return text


def _listen(port: int) -> tuple[socket.socket, ...]:
    """Listen on the IPv4 loopback address, and on the IPv6 one where there is one.

    Raises:
        PortError: another program has the port, or it is not for users.
    """
    for _ in range(_FREE_PORT_TRIES):
        try:
            ipv4 = _listen_on("127.0.0.1", port)
        except OSError as error:
            raise _port_error(port, error) from error
        try:
            return ipv4, _listen_on("::1", ipv4.getsockname()[1])
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                # no IPv6 here
                return (ipv4,)
            ipv4.close()
            # a browser that takes localhost for ::1 would see the other program
            if port:
                raise _port_error(port, error) from error
    raise PortError("No port is free on both 127.0.0.1 and ::1. Choose one: --port.")


def _listen_on(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family, backlog=_BACKLOG)


def _reserve_port() -> socket.socket:
    """Return a socket that holds a free port for gRPC, which makes its own.

    Two sockets with this option may have the same port, if they are the same user's.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved


def _port_error(port: int, error: OSError) -> PortError:
    if error.errno == errno.EADDRINUSE:
        return PortError(
            f"Port {port} is in use by another program. Stop that program, or choose "
            "another port: --port 0 picks a free one."
        )
    return PortError(f"Port {port} cannot be used ({error.strerror}). Choose another.")


def _leave_at_once(number: int, frame: FrameType | None) -> None:
    """Handle a signal while the server is still starting."""
    _leave(0)


def _fail(status: int, message: str) -> NoReturn:
    # the last line is to be the error, not what the app says as it ends
    _end_app()
    print(f"{PROG}: error: {message}", file=sys.stderr)
    _leave(status)


def _end_app() -> None:
    for process in _started:
        process.stop()
        process.wait(_APP_STOP_SECONDS)


def _leave(status: int) -> NoReturn:
    """End the app and this process, without waiting for any thread."""
    _end_app()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            continue
    # a thread may be in the middle of a request to somewhere, for a minute or for ever
    os._exit(status)


if __name__ == "__main__":
    main()
