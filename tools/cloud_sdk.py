"""Finds dev_appserver.py and the Datastore emulator in the Cloud SDK."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tools.arguments import WINDOWS

if TYPE_CHECKING:
    from collections.abc import Callable

_DOWNLOAD = "Install the Google Cloud CLI (https://cloud.google.com/sdk/docs/install)"
INSTALL_DEV_APPSERVER = (
    f"dev_appserver.py was not found. {_DOWNLOAD} and its component app-engine-python "
    "(gcloud components install app-engine-python)"
)
INSTALL_EMULATOR = (
    f"Google's Datastore emulator was not found. {_DOWNLOAD} and its component "
    "cloud-datastore-emulator (gcloud components install cloud-datastore-emulator)"
)


class NotInstalledError(Exception):
    """A part of the Cloud SDK is missing; the text says what to install."""


def need_dev_appserver(
    leave: Callable[[str], NoReturn], *, emulator: bool = False
) -> None:
    """Call `leave` with what to install, if dev_appserver.py is missing.

    With `emulator`, Google's Datastore emulator is needed too, for Cloud NDB.
    """
    try:
        find_dev_appserver()
        if emulator:
            find_emulator()
    except NotInstalledError as error:
        leave(str(error))


def find_dev_appserver() -> Path:
    """Return the path of dev_appserver.py.

    The one on the PATH is a wrapper that looks for updates of the SDK, and then runs
    the one that this returns.

    Raises:
        NotInstalledError: there is none, or no Python that it runs on.
    """
    if sys.platform == "win32":
        raise NotInstalledError(WINDOWS)
    wrapper = shutil.which("dev_appserver.py")
    if wrapper:
        sdk = Path(wrapper).resolve().parents[1]
        script = sdk / "platform/google_appengine/dev_appserver.py"
        if script.is_file():
            python_for(script)  # without one it cannot be run
            return script
    raise NotInstalledError(INSTALL_DEV_APPSERVER)


def python_for(script: Path) -> list[str]:
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
            "dev_appserver.py does not run on Python 3.13 or newer. Set "
            "CLOUDSDK_PYTHON to the path of Python 3.12"
        )
    own: str = getattr(sys, "_base_executable", sys.executable)
    return [chosen or own, "-S"]


def find_emulator() -> Path:
    """Return the script of Google's Datastore emulator.

    `gcloud emulators datastore start` runs this one; it would ask to install what is
    missing, and leave its data in the user's configuration.

    Raises:
        NotInstalledError: it is missing, or Java.
    """
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        raise NotInstalledError(INSTALL_EMULATOR)
    platform = Path(gcloud).resolve().parents[1] / "platform"
    script = platform / "cloud-datastore-emulator" / "cloud_datastore_emulator"
    if not script.is_file():
        raise NotInstalledError(INSTALL_EMULATOR)
    java = shutil.which(os.environ.get("JAVA", "java"))
    if java is None or not _runs([java, "-version"]):
        raise NotInstalledError("Google's Datastore emulator needs Java. Install it")
    return script


def _runs(command: list[str]) -> bool:
    """Return whether a command succeeds; macOS has a `java` that only fails."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
