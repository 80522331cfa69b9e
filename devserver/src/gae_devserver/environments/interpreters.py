"""Finds the Pythons that this machine has."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from gae_devserver.app.python import OWN, Python

_SECONDS = 20.0
# Python 2 understands this too, and -E and -S, but not -I
_ASK = (
    "import sys; "
    "sys.stdout.write('%d %d %s' % (sys.version_info[:2] + (sys.executable,)))"
)


class PythonError(Exception):
    """An interpreter cannot be used; the message is for the user."""


def find(version: tuple[int, int]) -> Python | None:
    """Return a Python of this version: the server's, or one in PATH, pyenv or uv."""
    if OWN.version == version:
        return OWN
    for path in _candidates("python{}.{}".format(*version)):
        try:
            python = inspect(path)
        except PythonError:  # such as a shim for a version that is not selected
            continue
        if python.version == version:
            return python
    return None


def named(text: str) -> Python:
    """Return the Python that a user names: a program, a path, or an environment.

    Raises:
        PythonError: there is none.
    """
    path = Path(os.path.expanduser(text))  # noqa: PTH111 - Path's raises RuntimeError
    if path.is_dir():
        path = path / "bin" / "python"
    elif os.sep not in text and (found := shutil.which(text)):
        path = Path(found)
    if not path.is_file():
        raise PythonError(
            f"there is no Python {path}. Name an interpreter or the folder of an "
            "environment, such as .venv"
        )
    # absolute, but with its links: Python finds its packages by them
    path = Path.cwd() / path
    return OWN if path == OWN.executable else inspect(path)


def inspect(executable: Path) -> Python:
    """Run an interpreter, to learn its version, and where it is if this is a shim.

    Raises:
        PythonError: it does not run.
    """
    try:
        answer = subprocess.run(
            [str(executable), "-E", "-S", "-c", _ASK],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
        )
        major, minor, path = answer.stdout.strip().split(" ", 2)
        python = Python(Path(path), (int(major), int(minor)))
    except subprocess.CalledProcessError as error:
        printed = error.stderr.strip().splitlines()
        reason = printed[0] if printed else f"its exit status is {error.returncode}"
        raise PythonError(f"{executable} does not run as Python: {reason}") from None
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise PythonError(f"{executable} does not run as Python: {error}") from None
    if python.version < (3, 0):
        raise PythonError(f"{executable} is {python}, and apps run on Python 3")
    return python


def _candidates(name: str) -> Iterator[Path]:
    """Yield where an interpreter of this name may be."""
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - as above
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    pyenv = Path(os.environ.get("PYENV_ROOT") or home / ".pyenv") / "versions"
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv/python")
    folders = [Path(entry) for entry in os.get_exec_path() if entry]
    # App Engine runs CPython; other names are PyPy and the like
    for root, cpython in ((pyenv, "[0-9]*"), (uv, "cpython-*")):
        # the newest patch release first
        found = root.glob(f"{cpython}/bin")
        folders += sorted(found, key=_natural, reverse=True)
    for folder in folders:
        if (path := folder / name).is_file():
            yield path.absolute()


def _natural(path: Path) -> list[int]:
    return [
        int(part)
        for part in path.parent.name.replace("-", ".").split(".")
        if part.isdigit()
    ]
