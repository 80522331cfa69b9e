"""Clones of this repository, and what it takes to install from it."""

import os
import pathlib
import shutil
import sys

import pytest

from tests.commands.clone import Clone
from tests.commands.running import Run, run
from tests.servers.staging import REPOSITORY


@pytest.fixture(scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables for a cache of environments that is empty when the tests begin."""
    kept = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return {
        "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")),
        "PIP_CACHE_DIR": os.environ.get("PIP_CACHE_DIR", str(kept / "pip")),
        "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", str(kept / "uv")),
    }


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A wheel of the dev server, built as its README says."""
    folder = tmp_path_factory.mktemp("wheel")
    command = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder)
    built = run(*command, REPOSITORY / "devserver", folder=folder)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = folder.glob("gae_devserver-*.whl")
    return wheel


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """An interpreter without packages, and so without nox."""
    folder = tmp_path_factory.mktemp("bare")
    made = run(sys.executable, "-m", "venv", "--without-pip", folder)
    assert made.returncode == 0, made.stderr
    return folder / "bin" / "python"


@pytest.fixture
def clone(python: pathlib.Path, tmp_path: pathlib.Path) -> Clone:
    """A clone in which no command has run."""
    return Clone.make(tmp_path / "clone", python)


@pytest.fixture(scope="session")
def first_run(
    python: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Clone, Run]:
    """A clone in which `noxfile.py --list` ran once, and what that printed."""
    clone = Clone.make(tmp_path_factory.mktemp("first_run") / "clone", python)
    return clone, clone.run("--list")


@pytest.fixture
def used_clone(first_run: tuple[Clone, Run], tmp_path: pathlib.Path) -> Clone:
    """A clone in which nox is set up already."""
    return first_run[0].copy(tmp_path / "clone")


@pytest.fixture
def small_clone(tmp_path: pathlib.Path) -> pathlib.Path:
    """A clone with noxfile.py, its tools, the Flask app with its link, and `shared`."""
    clone = tmp_path / "clone"
    leave = shutil.ignore_patterns("__pycache__")
    for name in ("shared", "tools", "flask_app"):
        shutil.copytree(REPOSITORY / name, clone / name, symlinks=True, ignore=leave)
    shutil.copy(REPOSITORY / "noxfile.py", clone)
    return clone
