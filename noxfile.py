#!/usr/bin/env python3
"""Every task of this project. Without nox, `python3 noxfile.py` stands for `nox`.

nox -s serve -- flask          run an app on the dev server (or django, plain_wsgi,
                               or the folder of an app of your own)
nox -s copy -- flask DIR       copy an app, to begin one of your own
nox                            run all tests and checks
nox -s flask -- -x -k retry    what follows -- goes to pytest
nox -l                         list the other sessions
"""

from __future__ import annotations  # SyntaxError? Use Python 3.11 or newer.

import argparse
import contextlib
import fnmatch
import hashlib
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OLDEST_PYTHON: tuple[int, int] = (3, 11)  # SyntaxError? Use Python 3.11 or newer.
NEWEST_PYTHON = (3, 13)  # that the tests run on
OLDEST_NOX = (2025, 10, 14)  # the same as nox.needs_version below
NOX = "nox[uv]>=2026.10.20,<2027"  # what is installed where there is none

NOXFILE = Path(__file__).absolute()
WRITABLE = "what it installs goes into .nox beside it, which has to be writable"
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


# What these take stands behind --. Before it, nox would take a word for a session: of
# `-s serve flask`, the second is one, which tests for minutes.
EXAMPLES = {
    "serve": "-s serve -- flask",
    "copy": "-s copy -- flask ../my_app",
    "deploy": "-s deploy -- flask --project my-project",
}
NOT_OF_NOX = {"--port", "--host", "--server", "--storage", "--faults", "--project"}


def check_words(arguments: list[str]) -> None:
    """Leave with a line if -s is missing, or --."""
    until = arguments.index("--") if "--" in arguments else len(arguments)
    words = arguments[:until]
    for session in EXAMPLES.keys() & {*words}:
        place = words.index(session)
        named = {"-s", "-e", "--session", "--sessions"} & {*words[:place]}
        others = [x for x in words[place + 1 : place + 2] if not x.startswith("-")]
        if not named or others or NOT_OF_NOX & {x.partition("=")[0] for x in words}:
            fail(f"say -s and --, as in: python3 noxfile.py {EXAMPLES[session]}")


check_words(sys.argv[1:])

# --- without nox: an environment that has it ------------------------------------------


def has_nox(path: list[str]) -> bool:
    """Tell whether these folders of packages have a nox that this file can use."""
    from importlib import metadata  # not at the top: Python 3.7 has none

    for nox_found in metadata.distributions(name="nox", path=path):
        return tuple(map(int, re.findall(r"\d+", nox_found.version))) >= OLDEST_NOX
    return False


def start_nox() -> NoReturn:
    """Replace this process by nox, which reads this file again for its sessions."""
    for name in ("SIGTERM", "SIGHUP"):  # as Ctrl-C; until exec, which sets them back
        sign = getattr(signal, name, None)  # Windows has no SIGHUP
        if sign and signal.getsignal(sign) == signal.SIG_DFL:  # else nohup ignores it
            signal.signal(sign, signal.default_int_handler)
    try:
        python = Path(sys.executable) if has_nox(sys.path) else python_with_nox()
        command = [str(python), "-m", "nox", "-f", str(NOXFILE), *sys.argv[1:]]
        if os.name == "nt":  # there, exec returns to the shell while the command runs
            sys.exit(subprocess.call(command))
        os.execv(command[0], command)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        fail(f"cannot set up nox: {error}; {WRITABLE}")


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
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # so that it can be ended with what it has started: `venv` starts pip
        start_new_session=True,
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
            f"cannot download nox: {cause}; check the network, "
            "or the proxy and the package index that pip is set to use"
        )
    sys.stderr.write(output)
    fail("failed, its output is above: " + " ".join(command))


if __name__ == "__main__":
    start_nox()

# --- with nox -------------------------------------------------------------------------

import filelock  # noqa: E402  # nox brings it along
import nox  # noqa: E402  # only now is it sure that there is one
from nox.command import CommandFailed  # noqa: E402
from nox.virtualenv import VirtualEnv  # noqa: E402

if sys.version_info[:2] > NEWEST_PYTHON:
    print(
        "noxfile.py: Python {}.{} is not tested; ".format(*sys.version_info)
        + "if something fails, use {}.{}".format(*NEWEST_PYTHON),
        file=sys.stderr,
    )

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

# The sessions import what finds dev_appserver.py from the tests.
sys.path.insert(0, str(NOXFILE.parent))

APPS = ("flask", "django", "plain_wsgi")
SERVERS = {
    "embedded": "devserver",
    "dev_appserver": "tests.servers.dev_appserver_command",
}
WINDOWS = "the servers and the tests run on Linux and macOS. On Windows, use WSL"
GCLOUD = "https://cloud.google.com/sdk/docs/install"
# Each package that is installed, those that others need among them: release and hashes.
LOCK = Path("requirements-lock.txt")
# A release with vulnerabilities that every service knows which knows any.
CANARY = "django==1.8"
# More than a server or a test run needs to end. nox's own 0.3 s leaves servers behind.
STOP_SECONDS = 15.0
INSTALL_ONLY = "--install-only" in sys.argv

# The dev server that a session runs on, and the library that stores the counter.
VARIANTS = {
    "embedded": ("embedded", "bundled"),
    "embedded_cloud": ("embedded", "cloud"),
    "dev_appserver": ("dev_appserver", "bundled"),
    "dev_appserver_cloud": ("dev_appserver", "cloud"),
}
in_each_variant = nox.parametrize("server, ndb", VARIANTS.values(), ids=VARIANTS)


@nox.session(default=False)
def serve(session: nox.Session) -> None:
    """Run an app on the dev server: nox -s serve -- flask [options of the server].

    In the place of the name stands the folder of any other app: ../my_app.
    """
    options = Options(
        session,
        "Say flask, django or plain_wsgi, or the folder of another app, "
        "for example: python3 noxfile.py -s serve -- flask",
        add_help=False,
    )
    options.add_argument("app", metavar="APP")
    options.add_argument("--server", choices=SERVERS, default="embedded")
    options.add_argument("--storage", metavar="DIR")
    if {"-h", "--help"} & {*session.posargs}:
        options.print_help()
        print("\nAnd what the server itself takes:\n", flush=True)
        install(session, "devserver", apps=APPS)
        other = {"dev_appserver", "--server=dev_appserver"} & {*session.posargs}
        module = SERVERS["dev_appserver" if other else "embedded"]
        run_server(session, "-m", module, "--help")
        return
    chosen, others = options.parse_known_args(session.posargs)
    if chosen.storage is not None:
        others.append(f"--storage={typed(session, chosen.storage)}")
    if chosen.server == "dev_appserver":
        need_dev_appserver(session.error)
    own = typed(session, chosen.app)
    is_app = Path(own, "app.yaml").is_file()
    try:
        folder = f"{app_name(chosen.app)}_app"
        if is_app and not own.samefile(folder):
            session.error(
                f"{own} is an app, too. Say ./{own.name} for that one; for the sample, "
                "start in another folder"
            )
        install(session, "devserver", apps=APPS)
    except argparse.ArgumentTypeError as error:
        if not is_app:
            options.error(f"{error}, and no {own / 'app.yaml'}")
        folder = str(own)
        use_environment_for(session, own)
        install(session, "devserver", folders=[own], locked=False)
    run_server(session, "-m", SERVERS[chosen.server], folder, *others)


@nox.session(default=False, venv_backend="none")
def copy(session: nox.Session) -> None:
    """Copy an app, with no link in it, to a new folder: nox -s copy -- flask DIR."""
    options = Options(
        session,
        "Say flask, django or plain_wsgi, and a new folder, for example: "
        "python3 noxfile.py -s copy -- flask ../my_app",
    )
    options.add_argument("app", metavar="APP", type=app_name)
    options.add_argument("folder", metavar="DIR")
    chosen = options.parse_args(session.posargs)
    folder = typed(session, chosen.folder)
    try:
        if os.path.lexists(folder) and any(folder.iterdir()):
            session.error(f"{folder} is not empty. Name a new folder")
        for source in sources(chosen.app):
            if Path(os.path.realpath(folder)).is_relative_to(source.resolve()):
                session.error(
                    f"{folder} is in {source}, which is copied. Name one elsewhere"
                )
        copy_app(chosen.app, folder)
    except OSError as error:
        session.error(f"cannot copy to {folder}: {error}")
    session.log(f"copied {chosen.app}_app to {folder}")


@nox.session
@in_each_variant
def flask(session: nox.Session, server: str, ndb: str) -> None:
    """Test the contract with the Flask app."""
    test_contract(session, server, ndb, "flask")


@nox.session
@in_each_variant
def django(session: nox.Session, server: str, ndb: str) -> None:
    """Test the contract with the Django app."""
    test_contract(session, server, ndb, "django")


@nox.session
@in_each_variant
def plain_wsgi(session: nox.Session, server: str, ndb: str) -> None:
    """Test the contract with the app that uses no framework."""
    test_contract(session, server, ndb, "plain_wsgi")


@nox.session
def unit(session: nox.Session) -> None:
    """Test the dev server, the apps on gunicorn alone and the move to Cloud NDB."""
    install(session, "devserver", "test", apps=APPS)
    others = ("tests/contract", "tests/commands", "tests/e2e")
    run_pytest(session, "tests", *(f"--ignore={folder}" for folder in others))


@nox.session
def commands(session: nox.Session) -> None:
    """Test this file's set-up, its sessions serve, copy, e2e, deploy, and the lock."""
    install(session, "devserver", "test", "commands", "audit", apps=APPS)
    run_pytest(session, "tests/commands")


@nox.session
def lint(session: nox.Session) -> None:
    """Check the style and the format of the code with ruff."""
    install(session, "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types with mypy --strict."""
    install(session, "devserver", "test", "commands", "types", apps=APPS)
    session.run("mypy")
    for app in APPS:  # one at a time: each of them is a module named main
        session.run("mypy", f"{app}_app/main.py")


@nox.session(default=False, python=["3.11", "3.12", "3.13"], download_python="never")
def versions(session: nox.Session) -> None:
    """Test the contract with every app on each Python version that is installed."""
    for ndb in ("bundled", "cloud"):
        test_contract(session, "embedded", ndb, *APPS)


@nox.session(default=False, python="3.11", download_python="never")
def minimums(session: nox.Session) -> None:
    """Test the contract with the lowest releases that pyproject.toml names."""
    install(session, "minimums", "pytest", locked=False)
    for ndb in ("bundled", "cloud"):
        run_contract(session, "embedded", ndb, *APPS)
    # the contract changes no file of an app that runs
    run_pytest(session, "tests/test_migration.py")


@nox.session(default=False)
def e2e(session: nox.Session) -> None:
    """Test a version that is deployed: nox -s e2e -- --base-url URL."""
    options = Options(
        session, f"For example: python3 noxfile.py -s e2e -- --base-url {EXAMPLE_URL}"
    )
    options.add_argument("--base-url", metavar="URL", type=base_url, required=True)
    chosen, others = options.parse_known_args(session.posargs)
    install(session, "test")
    test_deployed(session, chosen.base_url, others)


@nox.session(default=False)
def deploy(session: nox.Session) -> None:
    """Deploy a version, test it, promote nothing: nox -s deploy -- flask --project ID.

    With --delete the version is deleted afterwards; --version names it.
    """
    options = Options(
        session, "For example: python3 noxfile.py -s deploy -- flask --project my-id"
    )
    options.add_argument("app", metavar="APP", type=app_name)
    options.add_argument("--project", metavar="ID", type=not_empty, required=True)
    options.add_argument("--version", metavar="NAME", type=not_empty)
    options.add_argument("--delete", action="store_true")
    chosen, others = options.parse_known_args(session.posargs)
    version = chosen.version or time.strftime(f"{chosen.app}-%Y%m%dt%H%M%S")
    version = version.replace("_", "-")  # it becomes a part of a host's name
    gcloud = find_gcloud(session)
    install(session, "test")
    if INSTALL_ONLY:
        return
    # not by pytest at the end: the version would be there, and --delte do nothing
    check_tests(session, options, others)
    need_account(session, gcloud)
    project = f"--project={chosen.project}"
    which = (version, "--service=default", project)
    delete = (gcloud, "app", "versions", "delete", *which, "--quiet")
    try:
        with tempfile.TemporaryDirectory() as folder:
            copy_app(chosen.app, Path(folder, "app"))
            app_yaml = str(Path(folder, "app", "app.yaml"))
            where = (project, f"--version={version}", "--no-promote", "--quiet")
            run(session, gcloud, "app", "deploy", app_yaml, *where)
    except (CommandFailed, KeyboardInterrupt):
        session.log(f"if it is there all the same: {shlex.join(delete)}")
        raise
    try:
        describe = (gcloud, "app", "versions", "describe", *which)
        url = ask(*describe, "--format=value(versionUrl)")
        session.log(f"deployed: {url}")
        test_deployed(session, url, others)
    finally:
        if chosen.delete:
            run(session, *delete)
        else:
            session.log(f"it stays until: {shlex.join(delete)}")


@nox.session(default=False)
def lock(session: nox.Session) -> None:
    """Write requirements-lock.txt anew, after a pin was changed: nox -s lock.

    Whatever still fits stays as it is. With `-- --upgrade`, what has no pin is taken in
    its newest release.
    """
    install(session, "lock", locked=False)
    groups = nox.project.load_toml()["dependency-groups"]
    session.run(
        *("uv", "pip", "compile", "--quiet", "--generate-hashes", "--universal"),
        # one release of each package, which every Python from the oldest on can use
        *("--python-version={}.{}".format(*OLDEST_PYTHON), "--fork-strategy=fewest"),
        *(f"--group={group}" for group in groups if group != "minimums"),
        *(f"{app}_app/requirements.txt" for app in APPS),
        *(f"--output-file={LOCK}", "--custom-compile-command=nox -s lock"),
        *session.posargs,
        env=uv_settings(),
    )


@nox.session(default=False)
def audit(session: nox.Session) -> None:
    """Look for known vulnerabilities in what requirements-lock.txt holds."""
    install(session, "audit")
    with tempfile.TemporaryDirectory() as folder:
        command = (
            *("pip-audit", "--strict", "--disable-pip", "--progress-spinner=off"),
            # an answer of yesterday does not show that there is a service today
            f"--cache-dir={folder}/cache",
            *session.posargs,
        )
        # pip-audit reads none of pip's settings either
        certificates = uv_settings().get("SSL_CERT_FILE")
        if certificates and "REQUESTS_CA_BUNDLE" not in os.environ:
            session.env["REQUESTS_CA_BUNDLE"] = certificates
        canary = Path(folder, "canary.txt")
        canary.write_text(f"{CANARY} --hash=sha256:{'0' * 64}\n")
        answer = session.run(
            *(*command, f"--requirement={canary}"),
            *("--format=columns", "--output=stdout"),
            silent=True,
            success_codes=[0, 1],
        )
        if answer is None:  # --install-only
            return
        reason = why_not_audited(answer)
        if reason:
            # not failed: nothing was found; not passed: nothing was looked for
            session.skip(f"not audited: {reason}")
        # pip-audit leaves out what a marker keeps from this Python or this system
        everything = Path(folder, LOCK.name)
        everything.write_text(re.sub(r"(?m) ; .*(?= \\$)", "", LOCK.read_text()))
        session.run(*command, f"--requirement={everything}")


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
    if not session.posargs:
        session.run("python", "-m", "tests.bench.storage")


# --- what the user says ---------------------------------------------------------------


class Options(argparse.ArgumentParser):
    """What a session takes after --; a mistake in it is one line, with a hint."""

    def __init__(
        self, session: nox.Session, hint: str, *, add_help: bool = True
    ) -> None:
        super().__init__(
            prog=f"nox -s {session.name} --",
            epilog=hint,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            add_help=add_help,
            allow_abbrev=False,
        )
        self.session = session
        self.hint = hint

    def error(self, message: str) -> NoReturn:
        """End the session, where argparse would end nox."""
        self.session.error(f"{message}. {self.hint}")


def app_name(text: str) -> str:
    """Return the app that a text names; its folder's name will do too."""
    app = text.rstrip("/").lower().removesuffix("_app")
    if app not in APPS:
        raise argparse.ArgumentTypeError(f"there is no app {text!r}")
    return app


def typed(session: nox.Session, text: str) -> Path:
    """Return a path that is meant from where the user is: nox has gone from there."""
    path = Path(session.invoked_from, text)
    return path.resolve() if ".." in path.parts else path


def not_empty(text: str) -> str:
    """Return a text; refuse an empty one, as a variable of the shell may be."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty")
    return text


EXAMPLE_URL = "https://VERSION-dot-PROJECT.appspot.com"


def base_url(text: str) -> str:
    """Return the address of a server; refuse what is none."""
    parts = urlsplit(text)
    rest = (parts.path.strip("/"), parts.query, parts.fragment, parts.username)
    here = parts.hostname and parts.port != 0  # a port that is no number raises
    if parts.scheme not in ("http", "https") or not here or any(rest):
        raise argparse.ArgumentTypeError(f"{text!r} is not http(s)://HOST")
    return text.rstrip("/")


def need_dev_appserver(
    leave: Callable[[str], NoReturn], *, emulator: bool = False
) -> None:
    """Leave with a line that says what to install, if there is no dev_appserver.py.

    With `emulator`, Google's Datastore emulator has to be there too: for Cloud NDB.
    """
    if sys.platform == "win32":
        leave(WINDOWS)
    # here: it needs a POSIX system, and `copy` does not
    from tests.servers import datastore_emulator, dev_appserver_command

    try:
        dev_appserver_command.find()
        if emulator:
            datastore_emulator.find()
    except dev_appserver_command.NotInstalledError as error:
        leave(str(error))


# --- what the sessions do -------------------------------------------------------------


def sources(app: str) -> tuple[Path, Path]:
    """Return the folders that a copy of an app is made of: `shared` and its own."""
    return NOXFILE.parent / "shared", NOXFILE.parent / f"{app}_app"


def copy_app(app: str, folder: Path) -> None:
    """Copy an app to a folder that is empty or not there, `shared` as a folder.

    Whatever became of the link: git on Windows makes a text file of it.
    """
    shared, own = sources(app)

    def left_out(inside: str, names: list[str]) -> set[str]:
        # what is hidden: caches, the settings of editors, environments, keys
        unwanted = {x for x in names if x.startswith(".") and x != ".gcloudignore"}
        unwanted |= {"__pycache__", *fnmatch.filter(names, "*.pyc")}
        if Path(inside) == own:
            unwanted |= {"env", "venv", "shared"}  # `shared` is copied by itself
        return unwanted

    for source, target in ((shared, folder / "shared"), (own, folder)):
        shutil.copytree(source, target, ignore=left_out, dirs_exist_ok=True)


def find_gcloud(session: nox.Session) -> str:
    """Return the path of gcloud; end the session if it is missing."""
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        session.error(f"gcloud was not found. Install it: {GCLOUD}")
    return gcloud


def need_account(session: nox.Session, gcloud: str) -> None:
    """End the session if nobody is logged in."""
    if not ask(
        gcloud, "auth", "list", "--filter=status:ACTIVE", "--format=value(account)"
    ):
        session.error("gcloud has no account to use. Log in: gcloud auth login")


def ask(*command: str) -> str:
    """Return what a command prints."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.stderr.write(result.stderr)
        raise CommandFailed(return_code=result.returncode)
    return result.stdout.strip()


def test_contract(session: nox.Session, server: str, ndb: str, *apps: str) -> None:
    """Install what the contract's tests need, and run them on apps."""
    if server == "dev_appserver":
        need_dev_appserver(session.skip, emulator=ndb == "cloud")
    install(session, "devserver", "test", apps=apps)
    run_contract(session, server, ndb, *apps)


def run_contract(session: nox.Session, server: str, ndb: str, *apps: str) -> None:
    """Run the contract's tests on apps, with the packages that are installed."""
    for app in apps:
        run_pytest(
            session,
            "tests/contract",
            f"--app={app}",
            f"--server={server}",
            f"--ndb={ndb}",
        )


def test_deployed(session: nox.Session, url: str, arguments: Sequence[str]) -> None:
    """Run the part of the contract that a deployed version can be held to."""
    run_pytest(session, "tests/e2e", f"--base-url={url}", arguments=arguments)


def check_tests(
    session: nox.Session, options: Options, arguments: Sequence[str]
) -> None:
    """Leave with a line if the arguments for tests/e2e are wrong, or choose no test."""
    paths = [x for x in arguments if x[:1] != "-" and Path(x).exists()]
    others = [x for x in paths if not x.startswith("tests/e2e")]
    if others:
        options.error(f"unrecognized arguments: {shlex.join(others)}")
    collecting = start(
        session,
        *("python", "-m", "pytest", "tests/e2e", *arguments),
        *("--base-url=https://example.com", "--collect-only", "--verbosity=-1"),
        output=subprocess.PIPE,
    )
    said = collecting.communicate()[0].decode()
    if collecting.returncode == 0 and "::" in said:
        return
    if collecting.returncode not in (0, 4, 5):  # no mistake of the user's
        sys.stderr.write(said)
        raise CommandFailed(return_code=collecting.returncode)
    reasons = re.findall(r"(?:ERROR|error): (?!usage: )(.*)", said)
    options.error(reasons[0] if reasons else "no test is chosen")


def run_pytest(
    session: nox.Session,
    folder: str,
    *options: str,
    arguments: Sequence[str] | None = None,
) -> None:
    """Run the tests of a folder, or those that the user's arguments name instead."""
    if arguments is None:
        arguments = session.posargs
    named = any(argument.startswith("tests/") for argument in arguments)
    where = [] if named else [folder]
    run(session, "python", "-m", "pytest", *options, *where, *arguments)


def why_not_audited(answer: str) -> str:
    """Return why the service is not to be trusted, if it does not know the canary.

    A mirror of the package index may answer without such data. pip-audit then finds no
    known vulnerabilities, whatever it is asked about.
    """
    name, _, version = CANARY.partition("==")
    if re.search(rf"(?m)^{name} +{re.escape(version)} ", answer):
        return ""
    last = answer.strip().rpartition("\n")[2]
    if last.startswith("No known"):
        return f"the service knows of nothing in {CANARY}, so it has no such data"
    return f"the service gives no answer: {last}"


def use_environment_for(session: nox.Session, folder: Path) -> None:
    """Give the session an environment of its own for the app in a folder.

    In a common one, to install what this app needs would take away what another one,
    which may be served at the same time, is running on.
    """
    common = session.virtualenv
    if not isinstance(common, VirtualEnv):  # --no-venv
        return
    digest = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:8]
    own = VirtualEnv(
        f"{common.location_name}-{digest}",
        reuse_existing=common.reuse_existing,
        venv_backend=common.venv_backend,
    )
    own.create()
    session._runner.venv = own  # nox has no public word for it


def install(
    session: nox.Session,
    *groups: str,
    apps: Sequence[str] = (),
    folders: Sequence[Path] = (),
    locked: bool = True,
) -> None:
    """Install dependency groups and apps' requirements, where that is not done yet.

    `apps` are names, `folders` those of other apps, which may have no requirements.

    With `locked`, all of it has to be in the lock, in that release and with a hash from
    there. Another app may need other releases than this repository's.

    nox uses an environment again whatever became of it. This makes it anew if what it
    should hold has changed, if an installation was interrupted, or if it was moved.
    """
    if sys.platform == "win32" and {"devserver", "pytest", "test"} & {*groups}:
        session.error(WINDOWS)
    environment = session.virtualenv
    if not isinstance(environment, VirtualEnv):  # --no-venv: all is installed already
        return
    packages = nox.project.dependency_groups(nox.project.load_toml(), *groups)
    files = [Path(f"{app}_app", "requirements.txt") for app in apps]
    others = [folder / "requirements.txt" for folder in folders]
    files += [file for file in others if file.is_file()]
    wanted = "\n".join([environment.location, *packages, *map(Path.read_text, files)])
    if locked:
        wanted += hashlib.sha256(LOCK.read_bytes()).hexdigest()
    note = Path(environment.location, "installed-by-noxfile.txt")
    # two sessions may start at once: nox -s serve -- flask, and the same for django
    try:
        lock = filelock.FileLock(f"{environment.location}.lock").acquire()
    except OSError as error:
        session.error(f"cannot install: {error}; {WRITABLE}")
    with lock:
        if note.exists() and note.read_text() == wanted:
            return
        if environment._reused:  # nox has no public word for it
            environment.reuse_existing = environment._reused = False
            environment.create()
        session.log(f"installing {', '.join([*map(str, files), *groups])}")
        arguments = [*packages, *(f"--requirement={file}" for file in files)]
        if locked:
            arguments += ["--require-hashes", f"--constraint={LOCK}"]
        try:
            session.install(*arguments, env=uv_settings(), log=False)
        except CommandFailed:
            if locked:  # neither uv nor pip can know of it
                session.warn(f"was a requirement changed? Then {LOCK} too: nox -s lock")
            raise
        # Python warns of the SDK's code when it compiles it, which no user can mend
        compile_all = ("python", "-W", "ignore", "-m", "compileall", "-q")
        for sdk in Path(environment.location).glob("lib/*/*/google/appengine"):
            session.run_install(*compile_all, str(sdk), log=False)
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
    # lines such as global.index-url='https://...'; those of pip's own variables begin
    # with :env:, and count more than those of its files
    for line in sorted(listed.splitlines(), reverse=True):
        option, _, value = line.partition("=")
        variable = meaning.get(option.rpartition(".")[2])
        if variable:
            settings[variable] = value.strip("'")
    return {name: settings[name] for name in settings.keys() - os.environ.keys()}


def run_server(session: nox.Session, *arguments: str) -> None:
    """Run Python with these arguments until somebody ends it, which is no failure."""
    if INSTALL_ONLY:
        return
    # unbuffered: what the app prints is to be seen at once, in a pipe too
    server = start(session, "python", *arguments, PYTHONUNBUFFERED="1")
    try:
        status = server.wait()
    except KeyboardInterrupt:
        status = end(server)
    if status:  # the server has said why
        raise CommandFailed(return_code=status)


def run(session: nox.Session, program: str, *arguments: str) -> None:
    """Run a program of the session, and on Ctrl-C or SIGTERM see that it ends.

    session.run() cannot tell the two apart: it waits for a program that only nox has
    been told to end, as if Ctrl-C had reached that too.
    """
    if INSTALL_ONLY:
        return
    session.log(shlex.join([program, *arguments]))
    process = start(session, program, *arguments)
    try:
        status = process.wait()
    except KeyboardInterrupt:
        end(process)
        raise
    if status:
        raise CommandFailed(return_code=status)


def start(
    session: nox.Session,
    program: str,
    *arguments: str,
    output: int | None = None,
    **variables: str,
) -> subprocess.Popen[bytes]:
    """Start a program in the session's environment; `output` takes all it prints."""
    path = os.pathsep.join([*(session.bin_paths or []), os.environ["PATH"]])
    changed = {**session.env, "PATH": path, **variables}
    environment = {k: v for k, v in {**os.environ, **changed}.items() if v is not None}
    found = shutil.which(program, path=path) or sys.executable
    errors = None if output is None else subprocess.STDOUT
    command = [found, *arguments]
    return subprocess.Popen(command, env=environment, stdout=output, stderr=errors)


def end(process: subprocess.Popen[bytes]) -> int:
    """End a program that Ctrl-C may have reached; return its status.

    To get both does it no harm.
    """
    process.terminate()
    try:
        return process.wait(STOP_SECONDS)
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        process.kill()
        return process.wait()
