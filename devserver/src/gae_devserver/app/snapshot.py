"""The state of an app's files before it starts, to find edits made since then."""

import os
from collections.abc import Iterable
from pathlib import Path

IGNORED_FOLDERS = frozenset(
    (
        *("__pycache__", ".git", ".hg", ".svn", ".tox", ".venv", "venv", "env"),
        *(".idea", "node_modules", ".mypy_cache", ".pytest_cache", ".hypothesis"),
    )
)
"""Folders with caches, environments and the like; some of them are large."""

_State = tuple[int, int, int]


class Snapshot:
    """Remembers files, each as it was when it was added first.

    Their content is not read, so this takes a few milliseconds for hundreds of files.
    """

    def __init__(self) -> None:
        """Begin without files."""
        self._folders: set[Path] = set()
        self._files: set[Path] = set()
        self._states: dict[Path, _State | None] = {}

    def add(self, files: Iterable[Path]) -> None:
        """Add files, which may be missing."""
        for named in files:
            file = named.parent.resolve() / named.name
            self._files.add(file)
            self._states.setdefault(file, _state(file))

    def add_folder(self, folder: Path) -> None:
        """Add a folder of an app, and those that it links to."""
        for path in watched_folders(folder):
            self._folders.add(path)
            for file, state in _states_in(path):
                self._states.setdefault(file, state)

    def changed(self) -> set[Path]:
        """Return the files that have changed, come or gone since then."""
        now: dict[Path, _State | None] = {file: _state(file) for file in self._files}
        for folder in self._folders:
            now |= _states_in(folder)
        return {
            file
            for file in now.keys() | self._states.keys()
            if now.get(file) != self._states.get(file)
        }


def watched_folders(folder: Path) -> set[Path]:
    """Return the folders of an app to watch with everything below them.

    Not every system reports changes behind a link, so the list has the target of each
    link in the app.
    """
    folders = {folder.resolve()}
    for parent, names, _ in os.walk(folder):
        names[:] = [name for name in names if name not in IGNORED_FOLDERS]
        links = (Path(parent, name) for name in names)
        folders |= {link.resolve() for link in links if link.is_symlink()}
    return folders


def _states_in(folder: Path) -> Iterable[tuple[Path, _State | None]]:
    for parent, names, files in os.walk(folder):
        names[:] = [name for name in names if name not in IGNORED_FOLDERS]
        for name in files:
            file = Path(parent, name)
            yield file, _state(file)


def _state(file: Path) -> _State | None:
    try:
        status = file.stat()
    except OSError:
        return None
    # an editor that replaces a file may keep its time
    return status.st_mtime_ns, status.st_size, status.st_ino
