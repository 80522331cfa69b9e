"""Reads requirements.txt, as far as the cache of environments needs it."""

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
# a package in a folder or a file, whose path is relative to the app
_LOCAL = re.compile(
    r"^\s*(?:-e|--editable|\.|/|file:)|\s@\s*(?:\.|file:)", re.MULTILINE
)


def list_in(folder: Path) -> Path:
    """Return the file that lists an app's packages: requirements.txt if it has none.

    Without requirements.txt, App Engine reads pyproject.toml.
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
    package is installed from there. A file that does not exist counts as empty: the
    installer reports it.
    """
    texts = list(_texts(file.resolve(), set()))
    if any(_LOCAL.search(text) for text in texts):
        texts.append(os.fspath(file.parent.resolve()))
    return texts


def _texts(file: Path, seen: set[Path]) -> Iterator[str]:
    if file in seen or not file.is_file():
        return
    seen.add(file)
    text = file.read_text("utf-8-sig", "replace")
    yield text
    for name in _INCLUDES.findall(text):
        yield from _texts((file.parent / name).resolve(), seen)
