"""Reads the list of an app's packages: requirements.txt, or pyproject.toml."""

import codecs
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

# -r FILE and -c FILE, with the file in the same word or not
_INCLUDES = re.compile(
    r"^\s*(?:-[rc]\s*|--(?:requirement|constraint)[\s=]\s*)([^#\s].*?)\s*(?:\s#.*)?$",
    re.MULTILINE,
)
# at the beginning of a line in requirements.txt, in quotes in pyproject.toml
_PACKAGE = re.compile(r"""(?:^|["'])\s*([A-Za-z0-9][\w.-]*)""", re.MULTILINE)
# a package in a folder or a file, whose path is relative to the app
_LOCAL = re.compile(
    r"^\s*(?:-e|--editable|\.|/|file:)|\s@\s*(?:\.|file:)", re.MULTILINE
)


def list_in(folder: Path) -> Path:
    """Return the file that lists an app's packages; it may be missing.

    That is requirements.txt. Without it, App Engine reads pyproject.toml.
    """
    pyproject, file = folder / "pyproject.toml", folder / "requirements.txt"
    if pyproject.is_file() and not file.exists():
        try:
            tables = tomllib.loads(pyproject.read_text("utf-8", "replace"))
        except tomllib.TOMLDecodeError:
            return pyproject  # the installer reports it
        if "project" in tables or "poetry" in tables.get("tool", {}):
            return pyproject
    return file


def content(file: Path) -> list[str]:
    """Return what decides which packages a file installs.

    That is its text, the texts of the files that it includes, and the app's folder if a
    package is installed from there. A file that cannot be read counts as empty: the
    installer reports it.
    """
    texts = list(_texts(file.resolve(), set()))
    if any(_LOCAL.search(text) for text in texts):
        texts.append(os.fspath(file.parent.resolve()))
    return texts


def lists(file: Path, package: str) -> bool:
    """Return whether a file, or one that it includes, names a package."""
    names = (name for text in content(file) for name in _PACKAGE.findall(text))
    return _normal(package) in map(_normal, names)


def pip_arguments(file: Path) -> str:
    """Return what to write after `pip install` to install a file."""
    return str(file.parent) if file.suffix == ".toml" else f"-r {file}"


def _normal(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def _texts(file: Path, seen: set[Path]) -> Iterator[str]:
    if file in seen:
        return
    seen.add(file)
    try:
        data = file.read_bytes()
    except OSError:
        return
    # pip reads both, and PowerShell writes the first
    is_utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = data.decode("utf-16" if is_utf_16 else "utf-8-sig", "replace")
    yield text
    for name in _INCLUDES.findall(text):
        yield from _texts((file.parent / name).resolve(), seen)
