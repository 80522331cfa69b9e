#!/usr/bin/env python3
"""Every task of this project. Without nox, `python3 noxfile.py` stands for `nox`.

nox -s serve -- flask          run an app on the dev server (or django, plain_wsgi)
nox                            run all tests and checks
nox -s flask -- -x -k retry    what follows -- goes to pytest
"""

from __future__ import annotations  # SyntaxError? Use Python 3.11 or newer.

import contextlib
import hashlib
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Sequence

OLDEST_PYTHON: tuple[int, int] = (3, 11)  # SyntaxError? Use Python 3.11 or newer.
OLDEST_NOX = (2025, 10, 14)  # the same as nox.needs_version below
NOX = "nox[uv]>=2026.10.20,<2027"  # what is installed where there is none

NOXFILE = Path(__file__).absolute()
UNFINISHED = "unfinished-"


def fail(message: str) -> NoReturn:
    """Leave with one line on stderr and status 1."""
    sys.exit("noxfile.py: " + message)


# Before `import nox`: a user of an old Python is to see this line, no traceback. That
# is why this file has to parse on Python 3.7 and to run on it down to here.
if sys.version_info[:2] < OLDEST_PYTHON:
    fail(
        "this is Python {}.{}; install Python 3.11, 3.12 or 3.13 and use that, "
        "for example: python3.13 noxfile.py".format(*sys.version_info)
    )


# --- without nox: an environment that has it ------------------------------------------


def has_nox(path: list[str]) -> bool:
    """Tell whether these folders of packages have a nox that this file can use."""
    from importlib import metadata  # not at the top: Python 3.7 has none

    for nox_found in metadata.distributions(name="nox", path=path):
        return tuple(map(int, re.findall(r"\d+", nox_found.version))) >= OLDEST_NOX
    return False


def start_nox() -> NoReturn:
    """Replace this process by nox, which reads this file again for its sessions."""
    try:
        python = Path(sys.executable) if has_nox(sys.path) else python_with_nox()
        command = [str(python), "-m", "nox", "-f", str(NOXFILE), *sys.argv[1:]]
        if os.name == "nt":  # there, exec returns to the shell while the command runs
            sys.exit(subprocess.call(command))
        os.execv(command[0], command)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        fail(f"cannot set up nox: {error}")


def python_with_nox() -> Path:
    """Return the interpreter of an environment under .nox; make that if need be."""
    # The name tells what the environment is made of, so another Python gets another.
    made_of = "\n".join([NOX, sys.version, sys.base_prefix])
    digest = hashlib.sha256(made_of.encode()).hexdigest()[:8]
    environment = NOXFILE.parent / ".nox" / ("bootstrap-" + digest)
    environment.parent.mkdir(exist_ok=True)
    remove_leftovers(environment.parent)
    if not is_complete(environment):
        make_environment(environment)
    return python_of(environment)


def python_of(environment: Path) -> Path:
    """Return the path of a virtual environment's interpreter."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def is_complete(environment: Path) -> bool:
    """Tell whether an environment is there and nobody deleted parts of it."""
    packages = sysconfig.get_path("purelib", "venv", {"base": str(environment)})
    needed = [python_of(environment), environment / "pyvenv.cfg"]
    return all(path.exists() for path in needed) and has_nox([packages])


def make_environment(environment: Path) -> None:
    """Make a virtual environment with nox in it.

    It gets its name when it is complete. So a run that is killed leaves a folder that
    nobody takes for an environment, and two runs at once do not meet: the second to
    finish uses what the first has made.
    """
    try:
        import ensurepip  # noqa: F401  # Debian moves it to another package
        import venv  # noqa: F401
    except ImportError as error:
        fail(
            "this Python has no {}; on Debian or Ubuntu: "
            "sudo apt install python{}.{}-venv".format(error.name, *sys.version_info)
        )
    folder = environment.parent
    print(f"noxfile.py: setting up nox in {folder} (once)", file=sys.stderr, flush=True)
    unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=folder))
    try:
        # -I: a nox on PYTHONPATH would make pip believe that there is nothing to do
        run_quietly(sys.executable, "-I", "-m", "venv", str(unfinished))
        run_quietly(
            *(str(python_of(unfinished)), "-I", "-m", "pip", "install", NOX),
            *("--no-input", "--no-user", "--retries=3", "--disable-pip-version-check"),
        )
        if environment.exists() and not is_complete(environment):
            environment.rename(tempfile.mkdtemp(prefix=UNFINISHED, dir=folder))
        try:
            unfinished.rename(environment)
        except OSError:
            if not is_complete(environment):
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Delete what runs that were killed have left, but not what another is making."""
    an_hour_ago = time.time() - 3600
    for leftover in folder.glob(UNFINISHED + "*"):
        with contextlib.suppress(FileNotFoundError):  # another one has just finished
            if leftover.stat().st_mtime < an_hour_ago:
                shutil.rmtree(leftover, ignore_errors=True)


def run_quietly(*command: str) -> None:
    """Run a command; show its output only if it fails."""
    pipe, stdout = subprocess.PIPE, subprocess.STDOUT
    result = subprocess.run(command, stdout=pipe, stderr=stdout, text=True, check=False)
    if result.returncode == 0:
        return
    causes = re.findall(r"connection broken by '(.*)'", result.stdout)
    if causes:
        cause = re.sub(r"<[^>]*>: ", "", causes[-1])
        fail(
            f"cannot download nox: {cause}; check the network, "
            "or the proxy and the package index that pip is set to use"
        )
    sys.stderr.write(result.stdout)
    fail("failed, its output is above: " + " ".join(command))


if __name__ == "__main__":
    start_nox()

# --- with nox -------------------------------------------------------------------------

import filelock  # noqa: E402  # nox brings it along
import nox  # noqa: E402  # only now is it sure that there is one
from nox.command import CommandFailed  # noqa: E402
from nox.virtualenv import VirtualEnv  # noqa: E402

nox.needs_version = ">=2025.10.14"
nox.options.default_venv_backend = "uv|virtualenv"
# By Python version: sessions run on nox's own Python, and nox would use again an
# environment that another one made.
nox.options.envdir = f".nox/{sys.implementation.cache_tag}"
nox.options.reuse_venv = "yes"
# `versions` skips what is not installed, in CI too.
nox.options.error_on_missing_interpreters = False
# With some versions of nox, filelock reports each lock it takes.
logging.getLogger("filelock").setLevel(logging.WARNING)
# As Ctrl-C: nox would end and leave what it has started running.
signal.signal(signal.SIGTERM, signal.default_int_handler)

APPS = ("flask", "django", "plain_wsgi")
# More than a server or a test run needs to end. nox's own 0.3 s leaves servers behind.
STOP_SECONDS = 15.0


@nox.session(default=False)
def serve(session: nox.Session) -> None:
    """Run an app on the dev server: nox -s serve -- flask [options of the server]."""
    name, *options = session.posargs or [""]
    app = name.rstrip("/").removesuffix("_app")
    if app not in APPS:
        problem = f"there is no app {name!r}." if name else "which app?"
        names = "flask, django or plain_wsgi"
        session.error(f"{problem} Say {names}, for example: nox -s serve -- flask")
    install(session, "devserver", apps=APPS)
    run_server(session, "-m", "devserver", f"{app}_app", *options)


@nox.session
def flask(session: nox.Session) -> None:
    """Test the contract with the Flask app."""
    install(session, "devserver", "test", apps=["flask"])
    test_contract(session, "flask")


@nox.session
def django(session: nox.Session) -> None:
    """Test the contract with the Django app."""
    install(session, "devserver", "test", apps=["django"])
    test_contract(session, "django")


@nox.session
def plain_wsgi(session: nox.Session) -> None:
    """Test the contract with the app that uses no framework."""
    install(session, "devserver", "test", apps=["plain_wsgi"])
    test_contract(session, "plain_wsgi")


@nox.session
def unit(session: nox.Session) -> None:
    """Test the dev server's modules, the apps on gunicorn alone, and this file."""
    install(session, "devserver", "test", apps=APPS)
    run_pytest(session, "tests", "--ignore=tests/contract")


@nox.session
def lint(session: nox.Session) -> None:
    """Check the style and the format of the code with ruff."""
    install(session, "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types with mypy --strict."""
    install(session, "devserver", "test", "types", apps=APPS)
    session.run("mypy")
    for app in APPS:  # one at a time: each of them is a module named main
        session.run("mypy", f"{app}_app/main.py")


@nox.session(default=False, python=["3.11", "3.12", "3.13"], download_python="never")
def versions(session: nox.Session) -> None:
    """Test the contract with every app on each Python version that is installed."""
    install(session, "devserver", "test", apps=APPS)
    for app in APPS:
        test_contract(session, app)


@nox.session(default=False)
def chaos(session: nox.Session) -> None:
    """Count 2,000 tasks with every app while workers and the server are killed."""
    install(session, "devserver", "test", apps=APPS)
    run_pytest(session, "tests/chaos", "--chaos-calls=2000", "-rP")


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure the dev server and print a table."""
    install(session, "devserver", "test", apps=APPS)
    session.run("python", "-m", "tests.bench", *session.posargs)


def test_contract(session: nox.Session, app: str) -> None:
    """Run the contract's tests on one app."""
    run_pytest(session, "tests/contract", "--app", app)


def run_pytest(session: nox.Session, folder: str, *options: str) -> None:
    """Run the tests of a folder, or those that the command line names instead."""
    if any(argument.startswith("tests/") for argument in session.posargs):
        folders = []
    else:
        folders = [folder]
    session.run(
        *("python", "-m", "pytest", *options, *folders, *session.posargs),
        interrupt_timeout=STOP_SECONDS,
        terminate_timeout=STOP_SECONDS,
    )


def install(session: nox.Session, *groups: str, apps: Sequence[str] = ()) -> None:
    """Install dependency groups and apps' requirements, where that is not done yet.

    nox uses an environment again whatever became of it. This makes it anew if what it
    should hold has changed, if an installation was interrupted, or if it was moved.
    """
    environment = session.virtualenv
    if not isinstance(environment, VirtualEnv):  # --no-venv: all is installed already
        return
    packages = nox.project.dependency_groups(nox.project.load_toml(), *groups)
    files = [Path(f"{app}_app", "requirements.txt") for app in apps]
    wanted = "\n".join([environment.location, *packages, *map(Path.read_text, files)])
    note = Path(environment.location, "installed-by-noxfile.txt")
    # two sessions may start at once: nox -s serve -- flask, and the same for django
    with filelock.FileLock(f"{environment.location}.lock"):
        if note.exists() and note.read_text() == wanted:
            return
        if environment._reused:  # nox has no public word for it
            environment.reuse_existing = environment._reused = False
            environment.create()
        session.log(f"installing {', '.join([*map(str, files), *groups])}")
        arguments = [*packages, *(f"--requirement={file}" for file in files)]
        session.install(*arguments, env=uv_settings(), log=False)
        note.write_text(wanted)


def uv_settings() -> dict[str, str]:
    """Return the variables that make uv use the package index that pip uses.

    uv reads none of pip's settings, and trusts certificates of its own. Where a company
    has an index or certificates, pip is set up for those and uv often is not.
    """
    settings = {"UV_SYSTEM_CERTS": "true"}
    meaning = {"index-url": "UV_DEFAULT_INDEX", "cert": "SSL_CERT_FILE"}
    pip = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(pip, capture_output=True, text=True, check=False).stdout
    # lines such as global.index-url='https://...'; pip's own variables come first, and
    # count more than its files
    for line in reversed(listed.splitlines()):
        option, _, value = line.partition("=")
        variable = meaning.get(option.rpartition(".")[2])
        if variable:
            settings[variable] = value.strip("'")
    return {name: settings[name] for name in settings.keys() - os.environ.keys()}


def run_server(session: nox.Session, *arguments: str) -> None:
    """Run Python with these arguments, and on Ctrl-C or SIGTERM see that it ends.

    session.run() cannot tell the two apart: a server that Ctrl-C has reached is to be
    given time, and one that SIGTERM has not reached is to be told at once.
    """
    if "--install-only" in sys.argv:
        return
    path = os.pathsep.join([*(session.bin_paths or []), os.environ["PATH"]])
    # unbuffered: what the app prints is to be seen at once, in a pipe too
    changed = {**session.env, "PATH": path, "PYTHONUNBUFFERED": "1"}
    environment = {k: v for k, v in {**os.environ, **changed}.items() if v is not None}
    python = shutil.which("python", path=path) or sys.executable
    server = subprocess.Popen([python, *arguments], env=environment)
    try:
        status = server.wait()
    except KeyboardInterrupt:
        # Ctrl-C has reached the server too, but to get both does it no harm
        server.terminate()
        try:
            status = server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            status = server.wait()
    if status:  # the server has said why
        raise CommandFailed(return_code=status)
