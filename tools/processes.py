"""Programs of a session, which end when the session gets Ctrl-C or SIGTERM."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nox.command import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    import nox

# Enough for a server or a test run to end. nox's own 0.3 s leaves servers running.
STOP_SECONDS = 15.0
INSTALL_ONLY = "--install-only" in sys.argv


def run_pytest(
    session: nox.Session,
    where: str,
    *options: str,
    folder: Path | None = None,
    posargs: Sequence[str] | None = None,
) -> None:
    """Run the tests of a folder, or only those that the user's arguments name.

    Args:
        session: the session.
        where: the folder with the tests.
        options: more options of pytest.
        folder: the folder to which `where` and the user's paths are relative.
        posargs: the user's arguments; None means all of the session's.
    """
    arguments = list(session.posargs if posargs is None else posargs)
    if folder is not None:
        arguments = [x.removeprefix(f"{folder}/") for x in arguments]
    named = any(argument.startswith("tests/") for argument in arguments)
    chosen = [] if named else [where]
    command = ("python", "-m", "pytest", *options, *chosen, *arguments)
    run(session, *command, folder=folder)


def run_server(session: nox.Session, *arguments: str) -> None:
    """Run a server with Python until it is stopped, which is no failure."""
    if INSTALL_ONLY:
        return
    # otherwise Python keeps back what the app prints into a pipe
    server = start(session, "python", *arguments, PYTHONUNBUFFERED="1")
    try:
        status = server.wait()
    except KeyboardInterrupt:
        status = _end(server)
    if status:  # the server has printed the reason
        raise CommandFailed(return_code=status)


def run(
    session: nox.Session, program: str, *arguments: str, folder: Path | None = None
) -> None:
    """Run a program of the session, and end it on Ctrl-C or SIGTERM.

    session.run() only waits for it, as if a SIGTERM to nox had reached the program too.
    """
    if INSTALL_ONLY:
        return
    session.log(shlex.join([program, *arguments]))
    process = start(session, program, *arguments, folder=folder)
    try:
        status = process.wait()
    except KeyboardInterrupt:
        _end(process)
        raise
    if status:
        raise CommandFailed(return_code=status)


def start(
    session: nox.Session,
    program: str,
    *arguments: str,
    output: int | None = None,
    folder: Path | None = None,
    **variables: str,
) -> subprocess.Popen[bytes]:
    """Start a program in the session's environment; it prints to `output`."""
    path = os.pathsep.join([*(session.bin_paths or []), os.environ["PATH"]])
    changed = {**session.env, "PATH": path, **variables}
    environment = {k: v for k, v in {**os.environ, **changed}.items() if v is not None}
    found = shutil.which(program, path=path) or sys.executable
    return subprocess.Popen(
        [found, *arguments],
        env=environment,
        cwd=folder,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
    )


def ask(*command: str) -> str:
    """Return what a command prints."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.stderr.write(result.stderr)
        raise CommandFailed(return_code=result.returncode)
    return result.stdout.strip()


def _end(process: subprocess.Popen[bytes]) -> int:
    """End a program, which Ctrl-C may have reached already; return its status."""
    process.terminate()
    try:
        return process.wait(STOP_SECONDS)
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        process.kill()
        return process.wait()
