"""Runs nox for noxfile.py, in an environment of its own where Python has no nox."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import NoReturn

OLDEST_NOX = (2025, 10, 14)  # the same as nox.needs_version in noxfile.py
NOX = "nox[uv]>=2026.10.20,<2027"  # installed if Python has no nox

NOXFILE = Path(__file__).absolute().parent.parent / "noxfile.py"
FOLDER = NOXFILE.parent / ".nox"
WRITABLE = "noxfile.py installs into the folder .nox beside it. Make that writable"
UNFINISHED = "unfinished-"


def fail(message: str) -> NoReturn:
    """Exit with status 1 and one line on stderr."""
    sys.exit("noxfile.py: " + message)


def start_nox() -> NoReturn:
    """Replace this process with nox, which then runs the sessions of noxfile.py."""
    # These act as Ctrl-C until exec resets them. A signal that nohup ignores stays so.
    for name in ("SIGTERM", "SIGHUP"):
        sign = getattr(signal, name, None)  # Windows has no SIGHUP
        if sign and signal.getsignal(sign) == signal.SIG_DFL:
            signal.signal(sign, signal.default_int_handler)
    try:
        python = Path(sys.executable) if _has_nox(sys.path) else _python_with_nox()
        command = [str(python), "-m", "nox", "-f", str(NOXFILE), *sys.argv[1:]]
        if os.name == "nt":  # on Windows, exec returns to the shell before nox ends
            sys.exit(subprocess.call(command))
        os.execv(command[0], command)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        fail(f"cannot set up nox: {error}. {WRITABLE}")


def _has_nox(path: list[str]) -> bool:
    """Return whether folders of packages have a nox that is new enough."""
    for nox in metadata.distributions(name="nox", path=path):  # Python uses the first
        return tuple(map(int, re.findall(r"\d+", nox.version))) >= OLDEST_NOX
    return False


def _python_with_nox() -> Path:
    """Return the interpreter of an environment in .nox; make that first if needed."""
    # another Python, or another version of nox, gets another environment
    made_of = "\n".join([NOX, sys.version, sys.base_prefix])
    digest = hashlib.sha256(made_of.encode()).hexdigest()[:8]
    environment = FOLDER / ("bootstrap-" + digest)
    FOLDER.mkdir(exist_ok=True)
    _remove_leftovers()
    if not _is_complete(environment):
        _make(environment)
    return _python_of(environment)


def _python_of(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _is_complete(environment: Path) -> bool:
    """Return whether an environment exists and no part of it was deleted."""
    packages = sysconfig.get_path("purelib", "venv", {"base": str(environment)})
    needed = [_python_of(environment), environment / "pyvenv.cfg"]
    return all(path.exists() for path in needed) and _has_nox([packages])


def _make(environment: Path) -> None:
    """Make a virtual environment with nox in it.

    It gets its name only when it is complete. So no run uses what a killed run left,
    and if two runs start at once, the second to finish uses what the first has made.
    """
    try:
        import ensurepip  # noqa: F401  # Debian moves it to another package
        import venv  # noqa: F401
    except ImportError as error:
        version = "{}.{}".format(*sys.version_info)
        fail(
            f"this Python has no module {error.name}. On Debian or Ubuntu, install it: "
            f"sudo apt install python{version}-venv"
        )
    print(f"noxfile.py: setting up nox in {FOLDER} (once)", file=sys.stderr, flush=True)
    unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=FOLDER))
    try:
        # -I: pip installs nothing if there is a nox on PYTHONPATH
        _run_quietly(sys.executable, "-I", "-m", "venv", str(unfinished))
        pip = [str(_python_of(unfinished)), "-I", "-m", "pip", "install", NOX]
        options = ["--no-input", "--no-user", "--disable-pip-version-check"]
        _run_quietly(*pip, *options, "--retries=3")
        if environment.exists() and not _is_complete(environment):
            environment.rename(tempfile.mkdtemp(prefix=UNFINISHED, dir=FOLDER))
        try:
            unfinished.rename(environment)
        except OSError:
            if not _is_complete(environment):
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _remove_leftovers() -> None:
    """Delete what killed runs left, but not what another run is making now."""
    an_hour_ago = time.time() - 3600
    for leftover in FOLDER.glob(UNFINISHED + "*"):
        with contextlib.suppress(FileNotFoundError):  # another run has deleted it
            if leftover.stat().st_mtime < an_hour_ago:
                shutil.rmtree(leftover, ignore_errors=True)


def _run_quietly(*command: str) -> None:
    """Run a command; show its output only if it fails."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # to kill its children too: `venv` starts pip
    )
    try:
        output, _ = process.communicate()
    except KeyboardInterrupt:
        if os.name == "nt":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if process.returncode == 0:
        return
    causes = re.findall(r"connection broken by '(.*)'", output)
    if causes:
        cause = re.sub(r"<[^>]*>: ", "", causes[-1])
        fail(
            f"cannot download nox: {cause}. Check the network, "
            "and the proxy and package index in pip's configuration"
        )
    sys.stderr.write(output)
    fail("this command failed (see its output above): " + " ".join(command))
