"""Run noxfile.py as a user does, and the commands that it needs."""

import os
import pathlib
import re
import subprocess
import sys

from tests.servers.staging import REPOSITORY

MINUTES = 300.0
"""Seconds that a command may take; a slow network is no failure."""

Run = subprocess.CompletedProcess[str]


def environment(**variables: str) -> dict[str, str]:
    """Return this process's environment without what nox and Python put there."""
    unwanted = re.compile("NOX|UV_PYTHON|PYTHON|VIRTUAL_ENV")
    kept = {k: v for k, v in os.environ.items() if not unwanted.match(k)}
    return {**kept, "NO_COLOR": "1", **variables}


def run(
    *command: pathlib.Path | str,
    folder: pathlib.Path = REPOSITORY,
    **variables: str,
) -> Run:
    """Run a command until it ends."""
    return subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=MINUTES,
        check=False,
    )


def nox(
    *arguments: pathlib.Path | str,
    folder: pathlib.Path = REPOSITORY,
    noxfile: pathlib.Path = REPOSITORY / "noxfile.py",
    **variables: str,
) -> Run:
    """Run noxfile.py with the packages that this process has, nox among them.

    What a session runs comes from there too, so that nothing has to be installed.
    """
    path = os.pathsep.join([str(own_commands()), os.environ["PATH"]])
    command = (sys.executable, noxfile, "--no-venv", *arguments)
    return run(*command, folder=folder, **{"PATH": path, **variables})


def start_nox(
    log: pathlib.Path,
    *arguments: pathlib.Path | str,
    folder: pathlib.Path = REPOSITORY,
    **variables: str,
) -> subprocess.Popen[bytes]:
    """Start noxfile.py so, in a process group of its own, as a terminal does."""
    path = os.pathsep.join([str(own_commands()), os.environ["PATH"]])
    command = (sys.executable, REPOSITORY / "noxfile.py", "--no-venv", *arguments)
    with log.open("wb") as output:
        return subprocess.Popen(
            list(map(str, command)),
            cwd=folder,
            env=environment(**{"PATH": path, **variables}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def own_commands() -> pathlib.Path:
    """Return the folder with this environment's python and pytest."""
    return pathlib.Path(sys.executable).parent
