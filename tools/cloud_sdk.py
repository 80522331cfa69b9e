"""Finds dev_appserver.py and the Datastore emulators in the Cloud SDK."""

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
    f"Google's {{title}} emulator was not found. {_DOWNLOAD} and its component "
    "{name} (gcloud components install {name})"
)


class NotInstalledError(Exception):
    """A part of the Cloud SDK is missing; the text says what to install."""


def need_dev_appserver(
    leave: Callable[[str], NoReturn], *, emulator: bool = False
) -> None:
    """Call `leave` with what to install if dev_appserver.py is missing.

    With `emulator`, for Cloud NDB, also if Google's Datastore emulator is missing.
    """
    try:
        find_dev_appserver()
        if emulator:
            find_emulator()
    except NotInstalledError as error:
        leave(str(error))


def find_dev_appserver() -> Path:
    """Return the path of dev_appserver.py.

    The one on the PATH is a wrapper, which looks for updates of the SDK first.

    Raises:
        NotInstalledError: it is missing, or a Python that it runs on.
    """
    if sys.platform == "win32":
        raise NotInstalledError(WINDOWS)
    wrapper = shutil.which("dev_appserver.py")
    if wrapper:
        sdk = Path(wrapper).resolve().parents[1]
        script = sdk / "platform/google_appengine/dev_appserver.py"
        if script.is_file():
            python_for(script)  # raises if there is none
            return script
    raise NotInstalledError(INSTALL_DEV_APPSERVER)


def python_for(
    script: Path, version: tuple[int, ...] = sys.version_info[:2]
) -> list[str]:
    """Return the command of a Python that dev_appserver.py itself runs on.

    It must see no installed packages, such as `google` or `certifi`, which hide the
    SDK's own: the Cloud SDK ships such a Python on Linux, and any other gets -S.
    `version` is that of the Python that runs this.

    Raises:
        NotInstalledError: only Python 3.13 or newer was found, which lacks modules that
            the SDK imports.
    """
    bundled = script.parents[1] / "bundledpythonunix/bin/python3"
    if bundled.is_file():
        return [str(bundled)]
    chosen = os.environ.get("CLOUDSDK_PYTHON")
    if chosen is None and version >= (3, 13):
        raise NotInstalledError(
            "dev_appserver.py does not run on Python 3.13 or newer. Set "
            "CLOUDSDK_PYTHON to the path of Python 3.12"
        )
    return [chosen or getattr(sys, "_base_executable", sys.executable), "-S"]


def find_emulator(of: str = "datastore") -> Path:
    """Return the script of Google's emulator of a service: datastore or firestore.

    `gcloud emulators datastore start` runs it too, but asks to install what is missing,
    and leaves data in the user's configuration.

    Raises:
        NotInstalledError: the emulator or Java is missing.
    """
    name, title = f"cloud-{of}-emulator", of.capitalize()
    missing = INSTALL_EMULATOR.format(title=title, name=name)
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        raise NotInstalledError(missing)
    platform = Path(gcloud).resolve().parents[1] / "platform"
    script = platform / name / name.replace("-", "_")
    if not script.is_file():
        raise NotInstalledError(missing)
    java = shutil.which(os.environ.get("JAVA", "java"))
    if java is None or not _runs([java, "-version"]):
        raise NotInstalledError(f"Google's {title} emulator needs Java. Install it")
    return script


def _runs(command: list[str]) -> bool:
    """Return whether a command succeeds; macOS has a `java` that always fails."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
