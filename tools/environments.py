"""The sessions' environments: locked dependencies, and the dev server from here."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import filelock  # nox brings it along
import nox
from nox.command import CommandFailed
from nox.virtualenv import VirtualEnv
from packaging.requirements import Requirement

from tools.arguments import WINDOWS
from tools.bootstrap import WRITABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

# Each package that is installed, with all that it needs: release and hashes.
LOCK = Path("requirements-lock.txt")
DEVSERVER = Path("devserver")

# With some versions of nox, filelock reports each lock it takes.
logging.getLogger("filelock").setLevel(logging.WARNING)


def install(
    session: nox.Session,
    *groups: str,
    apps: Sequence[str] = (),
    devserver: bool = False,
) -> None:
    """Install what a session needs, in the releases of the lock and with its hashes.

    Args:
        session: the session.
        groups: dependency groups of pyproject.toml.
        apps: the samples whose requirements.txt is installed.
        devserver: whether the dev server is, editable.
    """
    requirements = list(nox.project.dependency_groups(nox.project.load_toml(), *groups))
    files = [Path(f"{app}_app", "requirements.txt") for app in apps]
    names = [*map(str, files), *groups]
    if devserver:
        names.append(DEVSERVER.name)
        requirements = [
            *requirements,
            *_dependencies(),
            "flit-core",
        ]  # flit-core builds it
    lock = LOCK.read_text()
    pins = list(_pinned(session, requirements, lock))
    locked = ("--require-hashes", f"--constraint={LOCK}")
    steps = [[*pins, *(f"--requirement={file}" for file in files), *locked]]
    if devserver:
        # apart: installers refuse hashes beside a folder
        steps.append(["--no-deps", "--no-build-isolation", f"--editable=./{DEVSERVER}"])
    contents = [lock, *(file.read_text() for file in files)]
    _install_once(session, names, steps, contents)


def install_app(session: nox.Session, folder: Path) -> None:
    """Install the dev server and what the app in a folder needs, if it says so.

    Unlocked: the app may need other releases than this repository.
    """
    _use_environment_for(session, folder)
    file = folder / "requirements.txt"
    step = [f"--editable=./{DEVSERVER}"]
    names, contents = [DEVSERVER.name], []
    if file.is_file():
        step.append(f"--requirement={file}")
        names.insert(0, str(file))
        contents.append(file.read_text())
    _install_once(session, names, [step], contents)


def install_lowest(session: nox.Session) -> None:
    """Install the lowest releases that the dev server and the apps can do with."""
    groups = nox.project.load_toml()
    step = list(nox.project.dependency_groups(groups, "minimums", "pytest"))
    for wanted in map(Requirement, _dependencies()):
        (lowest,) = (x.version for x in wanted.specifier if x.operator == ">=")
        step.append(f"{wanted.name}=={lowest}")
    step.append(f"--editable=./{DEVSERVER}")
    _install_once(session, ["minimums", DEVSERVER.name], [step], [])


def lock(session: nox.Session, python: str) -> None:
    """Write the lock anew, for `python` and newer; what still fits stays as it is."""
    groups = nox.project.load_toml()["dependency-groups"]
    _install_once(session, ["lock"], [groups["lock"]], [])
    session.run(
        *("uv", "pip", "compile", "--quiet", "--generate-hashes", "--universal"),
        # one release of each package, which every Python from the oldest on can use
        *(f"--python-version={python}", "--fork-strategy=fewest"),
        *(f"--group={group}" for group in groups if group != "minimums"),
        *(str(DEVSERVER / "pyproject.toml"), *map(str, Path().glob("*_app/req*.txt"))),
        *(f"--output-file={LOCK}", "--custom-compile-command=nox -s lock"),
        *session.posargs,
        env=uv_settings(),
    )


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


def _dependencies() -> list[str]:
    """Return what the dev server needs, with the releases that it allows."""
    text = (DEVSERVER / "pyproject.toml").read_text()
    dependencies: list[str] = tomllib.loads(text)["project"]["dependencies"]
    return dependencies


def _pinned(
    session: nox.Session, requirements: Iterable[str], lock: str
) -> Iterator[str]:
    """Yield requirements in the release that the lock has: hashes need exact ones."""
    releases = dict(re.findall(r"(?m)^([a-z0-9-]+)==(\S+)", lock))
    for text in requirements:
        wanted = Requirement(text)
        name = wanted.name.lower().replace("_", "-")
        if name not in releases or not wanted.specifier.contains(releases[name], True):
            session.error(f"{LOCK} has no {text}. Write it anew: nox -s lock")
        yield f"{name}=={releases[name]}"


def _use_environment_for(session: nox.Session, folder: Path) -> None:
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


def _install_once(
    session: nox.Session,
    names: Sequence[str],
    steps: Sequence[Sequence[str]],
    contents: Sequence[str],
) -> None:
    """Install in steps, unless that is done already.

    nox uses an environment again whatever became of it. This makes it anew if what it
    holds has changed, if an installation was interrupted, or if it was moved.

    Args:
        session: the session.
        names: what is installed, for the log.
        steps: the arguments of each installation.
        contents: what the steps read, besides pyproject.toml.
    """
    if sys.platform == "win32" and DEVSERVER.name in names:
        session.error(WINDOWS)
    environment = session.virtualenv
    if not isinstance(environment, VirtualEnv):  # --no-venv: all is installed already
        return
    projects = [Path("pyproject.toml"), DEVSERVER / "pyproject.toml"]
    read = [*contents, *(file.read_text() for file in projects)]
    made_of = repr([environment.location, steps, read])
    wanted = hashlib.sha256(made_of.encode()).hexdigest()
    note = Path(environment.location, "installed-by-noxfile.txt")
    # two sessions may start at once: nox -s serve -- flask, and the same for django
    try:
        only_one = filelock.FileLock(f"{environment.location}.lock").acquire()
    except OSError as error:
        session.error(f"cannot install: {error}; {WRITABLE}")
    with only_one:
        if note.exists() and note.read_text() == wanted:
            return
        if environment._reused:  # nox has no public word for it
            environment.reuse_existing = environment._reused = False
            environment.create()
        session.log(f"installing {', '.join(names)}")
        try:
            for step in steps:
                session.install(*step, env=uv_settings(), log=False)
        except CommandFailed:
            if len(steps) > 1 or "--require-hashes" in steps[0]:
                session.warn(f"was a requirement changed? Then {LOCK} too: nox -s lock")
            raise
        # Python warns of the SDK's code when it compiles it, which no user can fix
        compile_all = ("python", "-W", "ignore", "-m", "compileall", "-q")
        for sdk in Path(environment.location).glob("lib/*/*/google/appengine"):
            session.run_install(*compile_all, str(sdk), log=False)
        note.write_text(wanted)
