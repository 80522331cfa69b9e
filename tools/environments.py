"""Installs what a session needs: locked packages, and the dev server from here."""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import filelock  # nox depends on it
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

# The release and the hashes of each package, its dependencies included.
LOCK = Path("requirements-lock.txt")
DEVSERVER = Path("devserver")
_PROJECT = DEVSERVER / "pyproject.toml"
# A step of its own: installers refuse hashes together with a folder. Without isolation,
# the dev server is built with the locked packages.
_EDITABLE = ("--no-deps", "--no-build-isolation", f"--editable=./{DEVSERVER}")

# With some versions of nox, filelock logs each lock that it takes.
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
        devserver: whether the dev server is installed, editable.
    """
    if not _needs_packages(session, devserver=devserver):
        return
    files = [f"{app}_app/requirements.txt" for app in apps]
    names = [*files, *groups]
    requirements = list(_group(*groups))
    if devserver:
        names.append(DEVSERVER.name)
        requirements += [*_dependencies(), *_group("build")]
    locked = [
        *_pinned(session, requirements),
        *(f"--requirement={file}" for file in files),
        "--require-hashes",
        f"--constraint={LOCK}",
    ]
    _install_once(session, names, locked, *([_EDITABLE] if devserver else []))


def install_lowest(session: nox.Session) -> None:
    """Install the lowest releases that the dev server and the apps support."""
    if not _needs_packages(session, devserver=True):
        return
    step = list(_group("minimums", "pytest", "build"))
    for wanted in map(Requirement, _dependencies()):
        (lowest,) = (x.version for x in wanted.specifier if x.operator == ">=")
        step.append(f"{wanted.name}=={lowest}")
    _install_once(session, ["minimums", DEVSERVER.name], step, _EDITABLE)


def install_newest(session: nox.Session) -> None:
    """Install the newest releases that the dev server allows beside the apps' pins."""
    if not _needs_packages(session, devserver=True):
        return
    files = [f"--requirement={app}_app/requirements.txt" for app in APPS]
    step = [*_dependencies(), *_group("test", "build"), *files]
    _install_once(session, ["newest", DEVSERVER.name], step, _EDITABLE)


def lock(session: nox.Session, python: str) -> None:
    """Update the lock for `python` and newer; a release that still fits stays."""
    groups = nox.project.load_toml()["dependency-groups"]
    if _needs_packages(session):
        _install_once(session, ["lock"], _group("lock"))
    command = ["uv", "pip", "compile", "--quiet", "--generate-hashes", "--universal"]
    # one release of each package, which every Python from the oldest on can use
    command += [f"--python-version={python}", "--fork-strategy=fewest"]
    command += [f"--output-file={LOCK}", "--custom-compile-command=nox -s lock"]
    command += [f"--group={group}" for group in groups if group != "minimums"]
    sources = [str(_PROJECT), *(f"{app}_app/requirements.txt" for app in APPS)]
    session.run(*command, *sources, *session.posargs, env=uv_settings())


def uv_settings() -> dict[str, str]:
    """Return the variables that make uv use pip's package index and certificates.

    uv does not read pip's settings. In a company with its own index or certificates,
    pip is configured for those, and uv often is not.
    """
    settings = {"UV_SYSTEM_CERTS": "true"}
    meaning = {"index-url": "UV_DEFAULT_INDEX", "cert": "SSL_CERT_FILE"}
    pip = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(pip, capture_output=True, text=True, check=False).stdout
    # lines such as global.index-url='https://...'; those that begin with :env: come
    # from variables, and override those from files
    for line in sorted(listed.splitlines(), reverse=True):
        option, _, value = line.partition("=")
        variable = meaning.get(option.rpartition(".")[2])
        if variable:
            settings[variable] = value.strip("'")
    return {name: settings[name] for name in settings.keys() - os.environ.keys()}


def _needs_packages(session: nox.Session, *, devserver: bool = False) -> bool:
    """Return whether the session has an environment; end it on Windows."""
    if devserver and sys.platform == "win32":
        session.error(WINDOWS)
    return isinstance(session.virtualenv, VirtualEnv)  # not with --no-venv


def _group(*groups: str) -> tuple[str, ...]:
    """Return what dependency groups of pyproject.toml name."""
    return nox.project.dependency_groups(nox.project.load_toml(), *groups)


def _dependencies() -> list[str]:
    """Return the dev server's requirements, with the releases that it allows."""
    return tomllib.loads(_PROJECT.read_text())["project"]["dependencies"]


def _pinned(session: nox.Session, requirements: Iterable[str]) -> Iterator[str]:
    """Yield requirements with the lock's release: hashes need an exact one."""
    releases = dict(re.findall(r"(?m)^([a-z0-9-]+)==(\S+)", LOCK.read_text()))
    for wanted in map(Requirement, requirements):
        release = releases.get(canonicalize_name(wanted.name))
        if release is None or not wanted.specifier.contains(release, True):
            session.error(f"{LOCK} has no {wanted}. Run: python3 noxfile.py -s lock")
        wanted.specifier = SpecifierSet(f"=={release}")
        yield str(wanted)


def _install_once(
    session: nox.Session, names: Sequence[str], *steps: Sequence[str]
) -> None:
    """Install in steps, unless that was done before.

    nox reuses an environment in any state. This makes it again if its content has
    changed, if an installation was interrupted, or if it was moved.

    Args:
        session: the session.
        names: what is installed, for the log.
        steps: the arguments of each installation.
    """
    environment = session.virtualenv
    assert isinstance(environment, VirtualEnv)
    files = [_PROJECT] if _EDITABLE in steps else []
    for option in itertools.chain(*steps):
        name, _, file = option.partition("=")
        if name in ("--requirement", "--constraint"):
            files.append(Path(file))
    texts = [file.read_text() for file in files]
    made_of = repr([environment.location, steps, texts])
    wanted = hashlib.sha256(made_of.encode()).hexdigest()
    note = Path(environment.location, "installed-by-noxfile.txt")
    # two sessions may start at once, such as serve for two apps
    try:
        only_one = filelock.FileLock(f"{environment.location}.lock").acquire()
    except OSError as error:
        session.error(f"cannot install packages: {error}. {WRITABLE}")
    with only_one:
        if note.exists() and note.read_text() == wanted:
            return
        if environment._reused:  # nox has no public name for it
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
        # Python warns about the SDK's code when it compiles it; no user can fix that
        compile_all = ("python", "-W", "ignore", "-m", "compileall", "-q")
        for sdk in Path(environment.location).glob("lib/*/*/google/appengine"):
            session.run_install(*compile_all, str(sdk), log=False)
        note.write_text(wanted)
