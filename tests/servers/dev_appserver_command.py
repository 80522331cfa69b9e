"""Google's dev_appserver.py: where it is, and the flags that make it run these apps.

    python -m tests.servers.dev_appserver_command APP_FOLDER [--port 8080]

serves an app there by hand. Each flag has its reason in `command`.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import types
from collections.abc import Iterator
from typing import NoReturn

from tests.servers import leash
from tests.servers.waiting import wait_until

CACHE = pathlib.Path(__file__).resolve().parents[2] / ".nox" / "dev_appserver"
"""Where virtual environments are kept between runs."""

INSTALL = (
    "dev_appserver.py was not found: install the Google Cloud CLI "
    "(https://cloud.google.com/sdk/docs/install) and its component app-engine-python "
    "(gcloud components install app-engine-python)"
)


START_TIME = 120.0
"""Seconds that a start may take on a loaded machine; it takes seven."""

PARENT_INTERVAL = 0.5
"""Seconds between two looks whether the parent is still there."""

STOPS = (signal.SIGINT, signal.SIGTERM)
"""The signals that end the serving."""


class NotInstalledError(Exception):
    """There is no Cloud SDK with dev_appserver.py; the text says what to install."""


def find() -> pathlib.Path:
    """Return the path of dev_appserver.py; raise NotInstalledError if there is none.

    The one on the PATH is a wrapper that looks for updates of the SDK, and then runs
    the one that this returns.
    """
    wrapper = shutil.which("dev_appserver.py")
    if wrapper:
        sdk = pathlib.Path(wrapper).resolve().parents[1]
        script = sdk / "platform/google_appengine/dev_appserver.py"
        if script.is_file():
            find_python(script)  # without one it cannot be run
            return script
    raise NotInstalledError(INSTALL)


def find_python(script: pathlib.Path) -> list[str]:
    """Return how to start a Python that dev_appserver.py itself runs on.

    Packages in site-packages will not do: an installed `google` or `certifi` shadows
    the SDK's. The Cloud SDK ships a clean Python on Linux; any other one is told, with
    -S, to see no packages.

    Raises:
        NotInstalledError: there is none; the SDK imports what Python 3.13 has dropped.
    """
    bundled = script.parents[1] / "bundledpythonunix/bin/python3"
    if bundled.is_file():
        return [str(bundled)]
    chosen = os.environ.get("CLOUDSDK_PYTHON")
    if chosen is None and sys.version_info >= (3, 13):
        raise NotInstalledError(
            "dev_appserver.py does not run on Python 3.13 or newer: set "
            "CLOUDSDK_PYTHON to the path of Python 3.12"
        )
    own: str = getattr(sys, "_base_executable", sys.executable)
    return [chosen or own, "-S"]


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def command(
    script: pathlib.Path,
    app: pathlib.Path,
    *,
    port: int,
    venv: pathlib.Path,
    storage: pathlib.Path,
    watch: bool = False,
    emulator: str | None = None,
) -> list[str]:
    """Return the command line that serves the app in the folder `app`.

    With `watch` the app starts anew when one of its files changes. `emulator` is the
    host and port of a Datastore emulator: dev_appserver.py itself serves no Cloud NDB.
    """
    # compiled modules in the app's folder would restart the app
    variables = {"PYTHONPYCACHEPREFIX": str(venv / "pycache")}
    if emulator:
        variables["DATASTORE_EMULATOR_HOST"] = emulator
    return [
        *find_python(script),
        str(script),
        "--application=sample",
        "--host=localhost",
        # not 0: X-AppEngine-Default-Version-Hostname is made from this flag
        f"--port={port}",
        "--api_port=0",
        "--admin_port=0",
        # every instance has a GAE_VERSION of its own, and so would count apart
        "--max_module_instances=1",
        # without it an instance gets one request at a time
        "--threadsafe_override=true",
        # else the app runs on the Python that runs dev_appserver.py
        f"--runtime_python_path={sys.executable}",
        f"--python_virtualenv_path={venv}",
        # a fresh folder: the datastore is empty at each start
        f"--storage_path={storage}",
        "--clear_datastore=true",
        # a query sees what was just written, as in Firestore in Datastore mode
        "--datastore_consistency_policy=consistent",
        "--skip_sdk_update_check=true",
        f"--automatic_restart={'true' if watch else 'false'}",
        *(f"--env_var={name}={value}" for name, value in variables.items()),
        str(app / "app.yaml"),
    ]


def environment(venv: pathlib.Path) -> dict[str, str]:
    """Return the environment that dev_appserver.py runs in."""
    own = str(pathlib.Path(sys.executable).parent)
    # what is set around the tests must not leak into the bundled Python, nor into pip
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "PIP_")) and name != "VIRTUAL_ENV"
    }
    # without it, the SDK's own httplib2 ends with a NameError
    library = find().parent / "lib" / "httplib2" / "httplib2"
    inherited.setdefault("HTTPLIB2_CA_CERTS", str(library / "cacerts.txt"))
    return inherited | {
        # gunicorn is found where this Python's packages are; see `kept_venv`
        "PATH": os.pathsep.join([own, os.environ.get("PATH", os.defpath)]),
        "PYTHONWARNINGS": "ignore",
        "PYTHONUNBUFFERED": "1",
        # pip runs at every start: it must find all it needs without asking anyone
        "PIP_NO_INDEX": "1",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        # dev_appserver.py pauses for 0.2 s at each line that pip prints
        "PIP_QUIET": "1",
    }


@contextlib.contextmanager
def kept_venv(*, apart: bool = False) -> Iterator[pathlib.Path]:
    """Give the folder for dev_appserver.py's virtual environment, and lock it.

    It insists on one, and on installing requirements.txt there, which takes a minute.
    But the packages are here already: this Python runs the tests, or serves, with the
    app's requirements installed. A .pth file shows them to pip, which then has nothing
    to do, or fails if a version is another one.

    With `apart`, no environment with other packages uses the same folder: an app that
    starts anew, after an edit, still has to find its own.
    """
    installed = sysconfig.get_path("purelib")
    made_of = [sys.base_prefix, sys.version, *([installed] if apart else [])]
    digest = hashlib.sha256("\n".join(made_of).encode()).hexdigest()
    folder = CACHE / digest[:16]
    # dev_appserver.py adds the name of the service
    base = str(folder / "default")
    packages = pathlib.Path(
        sysconfig.get_path("purelib", "venv", {"base": base, "platbase": base})
    )
    packages.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        # two starts at once would make the environment in the same folder
        fcntl.flock(lock, fcntl.LOCK_EX)
        (packages / "installed.pth").write_text(installed + "\n")
        pip = folder / "default" / "bin" / "pip"
        if not pip.exists():
            # where the .pth file shows a pip, `venv` installs none, nor its script
            pip.parent.mkdir(exist_ok=True)
            pip.write_text('#!/bin/sh\nexec "${0%/*}/python" -m pip "$@"\n')
            pip.chmod(0o755)
        yield folder


def serve(app: pathlib.Path, port: int) -> int:
    """Serve an app in the foreground until Ctrl-C, SIGTERM or the end of the parent."""
    script = find()
    parent = os.getppid()
    for sign in STOPS:
        signal.signal(sign, _stop)
    with tempfile.TemporaryDirectory() as data, contextlib.ExitStack() as at_end:
        storage = pathlib.Path(data)
        try:
            with kept_venv(apart=True) as venv:
                line = command(
                    script,
                    app.resolve(),
                    port=port,
                    venv=venv,
                    storage=storage,
                    watch=True,
                    # of the user's own, where the counter is stored with Cloud NDB
                    emulator=os.environ.get("DATASTORE_EMULATOR_HOST"),
                )
                # on a leash, which stops it even if this process is killed
                leashed = subprocess.Popen(
                    [sys.executable, leash.__file__, *line],
                    stdin=subprocess.PIPE,
                    env=environment(venv),
                    # a second Ctrl-C would make it give up and leave gunicorn behind
                    start_new_session=True,
                )
                at_end.callback(_let_go, leashed)
                # the port is opened once the environment is made
                wait_until(
                    lambda: leashed.poll() is not None or is_open(port),
                    f"dev_appserver.py opens port {port}",
                    START_TIME,
                )
            while os.getppid() == parent:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return leashed.wait(PARENT_INTERVAL)
            return 1
        except KeyboardInterrupt:
            return 0


def _stop(number: int, frame: types.FrameType | None) -> NoReturn:
    """End the serving, once.

    Who stops this process often does so twice: Ctrl-C, and then nox's SIGTERM. The
    second must not break off what the first has begun.
    """
    for sign in STOPS:
        signal.signal(sign, signal.SIG_IGN)
    raise KeyboardInterrupt


def _let_go(leashed: "subprocess.Popen[bytes]") -> None:
    """Let go of the leash and wait until all that was on it has ended."""
    assert leashed.stdin is not None
    leashed.stdin.close()
    leashed.wait()


def is_open(port: int) -> bool:
    """Whether something listens on the port."""
    try:
        socket.create_connection(("localhost", port), 1).close()
    except OSError:
        return False
    return True


def port_number(text: str) -> int:
    """Return a port; dev_appserver.py would answer a wrong one with all its options."""
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 65535")
    return int(text)


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.servers.dev_appserver_command",
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
        help="where the app answers; 0 picks a free port (default: %(default)s)",
    )
    options = parser.parse_args()
    # not at the top: noxfile.py imports this module where there is no SDK
    from gae_devserver.config import app_yaml as config
    from gae_devserver.http import sockets as listening

    try:
        find()
        config.app_yaml_in(options.app)
        # before the start, which would fail after ten seconds with a traceback
        for sock in listening.listen(options.port, None):
            sock.close()
        return serve(options.app, options.port or free_port())
    except (NotInstalledError, listening.PortError) as error:
        print(error, file=sys.stderr)
        return 1
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
