"""Which Python is found for a version, and for what a user names."""

import os
import re
import sys
from pathlib import Path

import pytest

from gae_devserver.app.python import OWN
from gae_devserver.environments.interpreters import PythonError, find, named

OTHER = (3, 99)
ANSWERS = "#!/bin/sh\necho 3 99 $0\n"
SHIM = "#!/bin/sh\necho 'pyenv: python3.99: command not found' >&2\nexit 127\n"


def make(file: Path, script: str = ANSWERS) -> Path:
    """Make a program that acts as an interpreter."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(script)
    file.chmod(0o755)
    return file


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with no Python but the server's."""
    for name in ("PYENV_ROOT", "UV_PYTHON_INSTALL_DIR", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path / "bin"), "/bin"]))
    return tmp_path


@pytest.mark.parametrize(
    "place",
    [
        "bin",
        ".pyenv/versions/3.99.1/bin",
        ".local/share/uv/python/cpython-3.99.1-linux-x86_64-gnu/bin",
    ],
)
def test_where_pythons_are(home: Path, place: str) -> None:
    """A version is found in PATH, in pyenv and in uv, also behind a shim of pyenv."""
    assert find(OTHER) is None
    make(home / "bin" / "python3.99", SHIM)
    assert find(OTHER) is None
    expected = make(home / place / "python3.99")
    python = find(OTHER)
    assert python is not None
    assert (python.executable, python.version) == (expected, OTHER)


def test_the_newest_release(home: Path) -> None:
    """Of several releases of a version, the newest of CPython counts."""
    versions = home / ".pyenv" / "versions"
    for release in ("3.99.9", "3.99.10", "3.99.2", "pypy3.99-99.1"):
        make(versions / release / "bin" / "python3.99")
    python = find(OTHER)
    assert python is not None
    assert python.executable.is_relative_to(versions / "3.99.10")


def test_the_servers_own() -> None:
    """The server's Python is the first choice for its version."""
    assert find(OWN.version) == OWN


def test_what_a_user_names(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in PATH, a shim, a path, a relative one, an environment's folder."""
    expected = make(home / ".venv" / "bin" / "python")
    make(home / "bin" / "python99")
    monkeypatch.chdir(home)
    assert named("python99").executable == home / "bin" / "python99"
    for text in (".venv", "~/.venv", ".venv/bin/python", str(expected)):
        assert (named(text).executable, named(text).version) == (expected, OTHER)
    assert named(sys.executable) == OWN
    make(home / "bin" / "python3.99", f'#!/bin/sh\nexec "{expected}"\n')
    assert named("python3.99").executable == expected


@pytest.mark.parametrize(
    "text",
    [
        "python99",
        ".venv",
        "empty",
        "bin/broken",
        "bin/silent",
        "~no-user/.venv",
        "bin/two",
    ],
)
def test_what_is_no_python(
    home: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """The message names what was looked for."""
    (home / "empty").mkdir()
    make(home / "bin" / "broken", SHIM)
    make(home / "bin" / "silent", "#!/bin/sh\n")
    make(home / "bin" / "two", "#!/bin/sh\necho 2 7\n")
    monkeypatch.chdir(home)
    with pytest.raises(PythonError, match=re.escape(text)):
        named(text)
