"""Google's dev_appserver.py, with the flags that make it run these apps.

    python -m tools.dev_appserver APP_FOLDER [--port 8080]

serves an app with it. `command` gives the reason for each flag.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import pathlib
import re
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from typing import NoReturn

from gae_devserver.config import service_file
from gae_devserver.config.parsing import ConfigError
from gae_devserver.http import sockets
from gae_devserver.testing import ending, wait_until

from tools import leash
from tools.cloud_sdk import NotInstalledError, find_dev_appserver, python_for

CACHE = pathlib.Path(__file__).resolve().parents[1] / ".nox" / "dev_appserver"
"""The folder that keeps virtual environments between runs."""

START_TIME = 120.0
"""Seconds that a start may take on a loaded machine; usually it takes seven."""


def command(
    app: pathlib.Path, *, port: int, venv: pathlib.Path, storage: pathlib.Path
) -> list[str]:
    """Return the command line that serves the app in the folder `app`.

    The app restarts when one of its files changes.
    """
    script = find_dev_appserver()
    # outside the app's folder: a new compiled module there restarts the app
    variables = {"PYTHONPYCACHEPREFIX": str(venv / "pycache")}
    if emulator := os.environ.get("DATASTORE_EMULATOR_HOST"):
        # dev_appserver.py itself serves no Cloud NDB
        variables["DATASTORE_EMULATOR_HOST"] = emulator
    return [
        *python_for(script),
        str(script),
        "--application=sample",
        "--host=localhost",
        # not 0: X-AppEngine-Default-Version-Hostname is made from this flag
        f"--port={port}",
        "--api_port=0",
        "--admin_port=0",
        # each instance has its own GAE_VERSION, and so its own counter
        "--max_module_instances=1",
        # otherwise an instance gets one request at a time
        "--threadsafe_override=true",
        # otherwise the app runs on the Python that runs dev_appserver.py
        f"--runtime_python_path={sys.executable}",
        f"--python_virtualenv_path={venv}",
        # the datastore is empty at each start
        f"--storage_path={storage}",
        "--clear_datastore=true",
        # a query sees every earlier write, as in Firestore in Datastore mode
        "--datastore_consistency_policy=consistent",
        "--skip_sdk_update_check=true",
        *(f"--env_var={name}={value}" for name, value in variables.items()),
        str(app / "app.yaml"),
    ]


def environment(venv: pathlib.Path) -> dict[str, str]:
    """Return the environment that dev_appserver.py runs in."""
    own = str(pathlib.Path(sys.executable).parent)
    # variables of the tests must not reach the Cloud SDK's own Python, or pip
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "PIP_")) and name != "VIRTUAL_ENV"
    }
    # otherwise the SDK's own httplib2 fails with a NameError
    library = find_dev_appserver().parent / "lib" / "httplib2" / "httplib2"
    inherited.setdefault("HTTPLIB2_CA_CERTS", str(library / "cacerts.txt"))
    return inherited | {
        # gunicorn is installed beside this Python; see `kept_venv`
        "PATH": os.pathsep.join([own, os.environ.get("PATH", os.defpath)]),
        "PYTHONWARNINGS": "ignore",
        "PYTHONUNBUFFERED": "1",
        # pip runs at every start, and must need no package index
        "PIP_NO_INDEX": "1",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        # dev_appserver.py pauses for 0.2 s at each line that pip prints
        "PIP_QUIET": "1",
    }


@contextlib.contextmanager
def kept_venv(
    installed: str = sysconfig.get_path("purelib"),
    cache: pathlib.Path = CACHE,
) -> Iterator[pathlib.Path]:
    """Yield the folder for dev_appserver.py's virtual environment, and lock it.

    dev_appserver.py requires one, and installs requirements.txt there, which takes a
    minute. But this Python has the app's requirements installed already. A .pth file
    shows them to pip, which then has nothing to do, or fails if a version differs.

    `installed` is the folder with this Python's packages. No environment with other
    packages uses the same folder, so that an app that restarts after an edit still
    finds its own packages. `cache` is the folder for all environments.
    """
    made_of = "\n".join([sys.base_prefix, sys.version, installed])
    digest = hashlib.sha256(made_of.encode()).hexdigest()
    folder = cache / digest[:16]
    # dev_appserver.py adds the name of the service
    base = str(folder / "default")
    packages = pathlib.Path(
        sysconfig.get_path("purelib", "venv", {"base": base, "platbase": base})
    )
    packages.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        # two starts at once must not both make the environment
        fcntl.flock(lock, fcntl.LOCK_EX)
        (packages / "installed.pth").write_text(installed + "\n")
        pip = folder / "default" / "bin" / "pip"
        if not pip.exists():
            # if the .pth file shows a pip, `venv` installs neither pip nor its script
            pip.parent.mkdir(exist_ok=True)
            pip.write_text('#!/bin/sh\nexec "${0%/*}/python" -m pip "$@"\n')
            pip.chmod(0o755)
        yield folder


def serve(app: pathlib.Path, port: int) -> int:
    """Serve an app in the foreground until Ctrl-C, SIGTERM or the end of the parent."""
    ending.end_as_with_ctrl_c()
    ending.end_with_parent()
    with tempfile.TemporaryDirectory() as storage, contextlib.ExitStack() as at_end:
        try:
            with kept_venv() as venv:
                line = command(
                    app.resolve(), port=port, venv=venv, storage=pathlib.Path(storage)
                )
                # the leash stops it even if this process is killed
                leashed = subprocess.Popen(
                    [sys.executable, leash.__file__, *line],
                    stdin=subprocess.PIPE,
                    env=environment(venv),
                    # after a second Ctrl-C it would end and leave gunicorn running
                    start_new_session=True,
                )
                # at the end, this lets go of the leash and waits for it
                at_end.callback(leashed.communicate)
                # it opens the port once the environment is made
                wait_until(
                    lambda: leashed.poll() is not None or is_open(port),
                    f"dev_appserver.py opens port {port}",
                    START_TIME,
                )
            return leashed.wait()
        except KeyboardInterrupt:
            return 0


def is_open(port: int) -> bool:
    """Return whether a server listens on the port."""
    try:
        socket.create_connection(("localhost", port), 1).close()
    except OSError:
        return False
    return True


def port_number(text: str) -> int:
    """Return a port; for a wrong one dev_appserver.py prints all its options."""
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number from 0 to 65535. Write for example --port 8080"
        )
    return int(text)


class Parser(argparse.ArgumentParser):
    """Reports a mistake in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Exit with status 2."""
        self.exit(2, message.removeprefix("argument ") + ".\n")


def main() -> int:
    """Serve the app that the command line names; return the exit status."""
    parser = Parser(
        prog="python -m tools.dev_appserver",
        description="Serve an app with dev_appserver.py.",
    )
    parser.add_argument(
        "app",
        type=pathlib.Path,
        metavar="APP_FOLDER",
        help="the folder that holds app.yaml",
    )
    parser.add_argument(
        "--port",
        type=port_number,
        default=8080,
        help="the port on which the app answers; 0 picks a free one "
        "(default: %(default)s)",
    )
    options, others = parser.parse_known_args()
    if others:
        # the word after an option may be its value
        wrong = [x.partition("=")[0] for x in others if x.startswith("-")]
        parser.error(
            "With --server dev_appserver, --port is the only option. Remove "
            + ", ".join(wrong or others)
        )
    if options.app.is_file():
        parser.error("With --server dev_appserver, name the app's folder, not a file")
    try:
        find_dev_appserver()
        service_file.find(options.app)
        # dev_appserver.py notices a port in use after ten seconds, with a traceback
        listening = sockets.listen(options.port, None)
        port = listening[0].getsockname()[1]
        for sock in listening:
            sock.close()
        return serve(options.app, port)
    except (NotInstalledError, sockets.PortError) as error:
        print(error, file=sys.stderr)
        return 1
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
