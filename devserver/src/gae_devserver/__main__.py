"""The command: start-up and exit codes."""

import argparse
import contextlib
import gc
import os
import signal
import sys
from socket import socket
from typing import TYPE_CHECKING, NoReturn

from gae_devserver.app.advice.hints import Hints
from gae_devserver.command_line import token
from gae_devserver.command_line.options import parse
from gae_devserver.command_line.parsers import PROG

if TYPE_CHECKING:
    from gae_devserver.app.process import AppProcess, LaunchSettings
    from gae_devserver.app.tty import Terminal
    from gae_devserver.clock import Clock
    from gae_devserver.mail.smtp_server import SmtpServer
    from gae_devserver.output import Output
    from gae_devserver.storage.storage import Storage

NO_HINTS = Hints()

# the first processes, which a signal ends while the server is still starting
_started: "list[AppProcess]" = []


def main(hints: Hints = NO_HINTS, system: str = os.name) -> NoReturn:
    """Run the server; exit with 0 after a signal, 2 for a mistake, else 1.

    A shell or a script decides on the exit status itself.
    """
    parent = os.getppid()
    given_token = token.take(os.environ)
    _open_standard_streams()
    if system == "posix":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # once the event loop runs, the server handles them
            signal.signal(number, lambda *_: _exit(0))
    options = parse(sys.argv[1:])
    if system != "posix":
        _fail(1, "this server runs on Linux and macOS. On Windows, use WSL.")
    try:
        if options.command is None:
            _serve(options, parent, given_token, hints)
        else:
            _run_program(options)
    except ModuleNotFoundError as error:
        _fail(
            1,
            f"the package {error.name} is not installed for {sys.executable}. "
            "Install gae-devserver for it again.",
        )
    _exit(0)


def _open_standard_streams() -> None:
    """Replace those that a shell has closed, as `>&-` does.

    Otherwise a socket gets the number of the stream, and the app writes to it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, number)  # for the app too
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))


def _serve(
    options: argparse.Namespace, parent: int, given_token: str | None, hints: Hints
) -> None:
    # Until all parts are made, a collection finds next to nothing: see `server.run`.
    gc.disable()
    # These imports are quick. The slow ones come later, while the app starts.
    from gae_devserver import terminal
    from gae_devserver.app.open_files import raise_soft_limit
    from gae_devserver.app.snapshot import Snapshot
    from gae_devserver.clock import Clock
    from gae_devserver.config.application import load_services
    from gae_devserver.config.parsing import ConfigError
    from gae_devserver.environments.environments import AppPackagesError
    from gae_devserver.http import sockets
    from gae_devserver.launch import launch

    output = terminal.set_up_logging(options.log_level, options.log_format)
    try:
        state_token = token.check(given_token)
        application = load_services(options.apps)
        front_sockets = sockets.listen(options.port, options.host)
        state_socket = sockets.listen_for_console(options.console_port)
        api_socket = sockets.listen_here(options.api_port, "--api-port")
        grpc_socket = sockets.listen_here(options.grpc_port, "--grpc-port")
        clock = Clock()
        storage = _storage(options, clock)
    except (ConfigError, sockets.PortError, token.TokenError) as error:
        _fail(2, str(error))
    snapshot = Snapshot() if options.reload else None
    if snapshot is not None:
        # now: they may be edited during an installation
        snapshot.add(application.files.paths)
        for config in application.services:
            snapshot.add(config.files)
    terminal.log_warnings(application)
    if options.host is not None:
        several = len(application.services) > 1
        exposed = sockets.what_is_exposed(options.host, front_sockets, several=several)
        terminal.logger.warning("%s", exposed)
    settings = _launch_settings(
        options,
        api_socket,
        grpc_socket,
        output,
        open_files=raise_soft_limit(),
        terminal=_debug_terminal() if options.debug else None,
    )
    try:
        launched = launch(
            application,
            settings,
            options.python,
            near_port=front_sockets[0].getsockname()[1],
            host=options.host,
            on_start=_started.append,
            snapshot=snapshot,
        )
    except (ConfigError, sockets.PortError) as error:
        _fail(2, str(error))
    except AppPackagesError as error:
        _fail(1, str(error))
    except OSError as error:
        _fail(1, f"cannot start the app: {error}")

    import asyncio

    from gae_devserver.http import lean_import
    from gae_devserver.tasks import sdk

    sdk.import_taskqueue()
    lean_import.import_aiohttp()
    from gae_devserver import parts, server
    from gae_devserver.app.supervisor import AppUnavailable
    from gae_devserver.storage.storage import StorageError

    server_settings = parts.Settings(
        launch=settings,
        targets=options.apps,
        parent=parent,
        front_sockets=front_sockets,
        api_socket=api_socket,
        grpc_socket=grpc_socket,
        state_socket=state_socket,
        token=state_token,
        reload=options.reload,
        snapshot=snapshot,
        cron=options.cron,
        open_browser=options.open,
        clock=clock,
        storage=storage,
        faults=options.faults,
        when_index_missing=options.when_index_missing,
        cloud_tasks=options.cloud_tasks,
        http_target_hosts=options.http_target_hosts,
        smtp=_smtp(options),
        task_deadline=options.task_deadline,
        hints=hints,
    )
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(server.run(server_settings, application, launched))
    except (ConfigError, StorageError) as error:
        _fail(2, str(error))
    except AppUnavailable as error:
        # the rest of the text is what the app printed, which is on the terminal
        _fail(1, str(error).partition("\n")[0])


def _run_program(options: argparse.Namespace) -> NoReturn:
    """Run a shell or a script with the services, and exit with its status."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # the status of a program that a signal has ended
        signal.signal(number, lambda number, _: _exit(128 + number))

    import asyncio

    from gae_devserver import terminal
    from gae_devserver.clock import Clock
    from gae_devserver.config.application import load
    from gae_devserver.config.parsing import ConfigError
    from gae_devserver.environments.environments import AppPackagesError, Environments
    from gae_devserver.http import lean_import, sockets
    from gae_devserver.storage.storage import StorageError
    from gae_devserver.tasks import sdk

    sdk.import_taskqueue()
    lean_import.import_aiohttp()
    from gae_devserver.shell import programs, session

    output = terminal.set_up_logging("warning")
    try:
        application = load(options.apps)
        config = application.main
        program = (
            programs.shell(config.folder, options.project, options.storage)
            if options.command == "shell"
            else programs.script(config.folder, options.script, options.is_module)
        )
        clock = Clock()
        storage = _storage(options, clock)
        python = Environments(options.python).python(config)
    except (ConfigError, programs.ScriptError) as error:
        _fail(2, str(error))
    except AppPackagesError as error:
        _fail(1, str(error))
    api_socket = sockets.listen_on("127.0.0.1", 0)
    grpc_socket = sockets.listen_on("127.0.0.1", 0)
    settings = session.Settings(
        launch=_launch_settings(options, api_socket, grpc_socket, output),
        python=python,
        api_socket=api_socket,
        grpc_socket=grpc_socket,
        clock=clock,
        storage=storage,
        when_index_missing=options.when_index_missing,
    )
    loop = asyncio.new_event_loop()
    try:
        status = loop.run_until_complete(session.run(settings, application, program))
    except StorageError as error:
        _fail(2, str(error))
    except OSError as error:
        _fail(1, f"cannot start {python.executable}: {error}")
    _exit(status)


def _debug_terminal() -> "Terminal":
    from gae_devserver.app.tty import Terminal
    from gae_devserver.terminal import logger

    terminal = Terminal()
    if not terminal.is_there:
        logger.warning(
            "--debug: standard input is no terminal. breakpoint() reads its commands "
            "from there; at its end, the request fails with bdb.BdbQuit"
        )
    return terminal


def _storage(options: argparse.Namespace, clock: "Clock") -> "Storage | None":
    if options.storage is None:
        return None
    from gae_devserver.storage.storage import Storage, StorageError

    try:
        return Storage(options.storage, options.project, now=clock.now)
    except StorageError as error:
        _fail(2, str(error))


def _smtp(options: argparse.Namespace) -> "SmtpServer | None":
    from gae_devserver.mail.smtp_server import PASSWORD, PORT, USER, SmtpServer

    if options.smtp is None:
        return None
    host, port = options.smtp
    account = (os.environ.get(name, "") for name in (USER, PASSWORD))
    return SmtpServer(host, port or PORT, *account)


def _launch_settings(
    options: argparse.Namespace,
    api_socket: socket,
    grpc_socket: socket,
    output: "Output",
    open_files: int | None = None,
    terminal: "Terminal | None" = None,
) -> "LaunchSettings":
    from gae_devserver.app.log import AppLog
    from gae_devserver.app.process import LaunchSettings

    return LaunchSettings(
        project=options.project,
        api_port=api_socket.getsockname()[1],
        grpc_port=grpc_socket.getsockname()[1],
        open_files=open_files,
        log=AppLog(output),
        terminal=terminal,
    )


def _fail(status: int, message: str) -> NoReturn:
    # end the app first, so that the error is the last line
    _end_app()
    from gae_devserver import terminal

    text = f"{PROG}: error: {message}"
    if terminal.is_json():
        text = terminal.json_line(message, "CRITICAL", "gae_devserver").rstrip()
    print(text, file=sys.stderr)
    _exit(status)


def _end_app() -> None:
    for process in _started:
        process.stop()
    for process in _started:
        # quick, as the module is loaded once the app is started
        from gae_devserver.app.process import STOP_SECONDS

        # the app gets SIGKILL after STOP_SECONDS
        process.wait(STOP_SECONDS + 0.5)
    for process in _started:
        process.show_output()


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
