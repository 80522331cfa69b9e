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
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tools.arguments import APPS, WINDOWS
from tools.bootstrap import WRITABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

# Each package that is installed, with all that it needs: release and hashes.
LOCK = Path("requirements-lock.txt")
DEVSERVER = Path("devserver")
_PROJECT = DEVSERVER / "pyproject.toml"
# The last step. Installers refuse hashes beside a folder, and isolated from what is
# installed they would fetch what builds it.
_EDITABLE = ("--no-deps", "--no-build-isolation", f"--editable=./{DEVSERVER}")

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
    if not _needs_packages(session, devserver=devserver):
        return
    files = [Path(f"{app}_app", "requirements.txt") for app in apps]
    names = [*map(str, files), *groups]
    requirements = list(_group(*groups))
    contents = [LOCK.read_text(), *(file.read_text() for file in files)]
    if devserver:
        names.append(DEVSERVER.name)
        requirements += [*_dependencies(), *_group("build")]
        contents.append(_PROJECT.read_text())
    locked = (
        *_pinned(session, requirements, contents[0]),
        *(f"--requirement={file}" for file in files),
        *("--require-hashes", f"--constraint={LOCK}"),
    )
    steps = [locked, _EDITABLE] if devserver else [locked]
    _install_once(session, names, steps, contents)


def install_app(session: nox.Session, folder: Path) -> None:
    """Install the dev server, and what the requirements.txt of another app names.

    Unlocked: the app may need other releases than this repository.
    """
    if not _needs_packages(session, devserver=True):
        return
    _use_environment_for(session, folder)
    file = folder / "requirements.txt"
    step, contents = [*_dependencies(), *_group("build")], [_PROJECT.read_text()]
    names = [DEVSERVER.name]
    if file.is_file():
        step.append(f"--requirement={file}")
        contents.append(file.read_text())
        names.insert(0, str(file))
    _install_once(session, names, [step, _EDITABLE], contents)


def install_lowest(session: nox.Session) -> None:
    """Install the lowest releases that the dev server and the apps work with."""
    if not _needs_packages(session, devserver=True):
        return
    step = list(_group("minimums", "pytest", "build"))
    for wanted in map(Requirement, _dependencies()):
        (lowest,) = (x.version for x in wanted.specifier if x.operator == ">=")
        step.append(f"{wanted.name}=={lowest}")
    contents = [_PROJECT.read_text()]
    _install_once(session, ["minimums", DEVSERVER.name], [step, _EDITABLE], contents)


def lock(session: nox.Session, python: str) -> None:
    """Write the lock again, for `python` and newer; what still fits stays as it is."""
    groups = nox.project.load_toml()["dependency-groups"]
    if _needs_packages(session):
        _install_once(session, ["lock"], [_group("lock")], [])
    session.run(
        *("uv", "pip", "compile", "--quiet", "--generate-hashes", "--universal"),
        # one release of each package, which every Python from the oldest on can use
        *(f"--python-version={python}", "--fork-strategy=fewest"),
        *(f"--group={group}" for group in groups if group != "minimums"),
        *(str(_PROJECT), *(f"{app}_app/requirements.txt" for app in APPS)),
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


def _needs_packages(session: nox.Session, *, devserver: bool = False) -> bool:
    """Return whether the session has an environment; end it where that cannot work."""
    if devserver and sys.platform == "win32":
        session.error(WINDOWS)
    return isinstance(session.virtualenv, VirtualEnv)  # no: --no-venv


def _group(*groups: str) -> tuple[str, ...]:
    """Return what dependency groups of pyproject.toml name."""
    return nox.project.dependency_groups(nox.project.load_toml(), *groups)


def _dependencies() -> list[str]:
    """Return what the dev server needs, with the releases that it allows."""
    project = tomllib.loads(_PROJECT.read_text())["project"]
    dependencies: list[str] = project["dependencies"]
    return dependencies


def _pinned(
    session: nox.Session, requirements: Iterable[str], lock: str
) -> Iterator[str]:
    """Yield requirements in the release that the lock has: hashes need exact ones."""
    releases = dict(re.findall(r"(?m)^([a-z0-9-]+)==(\S+)", lock))
    for wanted in map(Requirement, requirements):
        release = releases.get(canonicalize_name(wanted.name))
        if release is None or not wanted.specifier.contains(release, True):
            session.error(f"{LOCK} has no {wanted}. Run: python3 noxfile.py -s lock")
        wanted.specifier = SpecifierSet(f"=={release}")
        yield str(wanted)


def _use_environment_for(session: nox.Session, folder: Path) -> None:
    """Give the session an environment of its own for the app in a folder.

    In a common one, to install what this app needs would take away what another one,
    which may be served at the same time, is running on.
    """
    common = session.virtualenv
    assert isinstance(common, VirtualEnv)
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
        contents: the files that the steps read.
    """
    environment = session.virtualenv
    assert isinstance(environment, VirtualEnv)
    made_of = repr([environment.location, steps, contents])
    wanted = hashlib.sha256(made_of.encode()).hexdigest()
    note = Path(environment.location, "installed-by-noxfile.txt")
    # two sessions may start at once: nox -s serve -- flask, and the same for django
    try:
        only_one = filelock.FileLock(f"{environment.location}.lock").acquire()
    except OSError as error:
        session.error(f"cannot install packages: {error}. {WRITABLE}")
    with only_one:
        if note.exists() and note.read_text() == wanted:
            return
        if environment._reused:  # nox has no public word for it
            environment.reuse_existing = environment._reused = False
            environment.create()
        session.log(f"installing {', '.join(names)}")
        for step in steps:
            try:
                session.install(*step, env=uv_settings(), log=False)
            except CommandFailed:
                if "--require-hashes" in step:
                    session.warn(
                        "if you changed a requirement, update "
                        f"{LOCK}: python3 noxfile.py -s lock"
                    )
                raise
        # Python warns of the SDK's code when it compiles it, which no user can fix
        compile_all = ("python", "-W", "ignore", "-m", "compileall", "-q")
        for sdk in Path(environment.location).glob("lib/*/*/google/appengine"):
            session.run_install(*compile_all, str(sdk), log=False)
        note.write_text(wanted)
