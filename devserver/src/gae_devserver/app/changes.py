"""Which files of the app have changed, for --reload."""

import os
from collections.abc import AsyncIterator, Collection
from pathlib import Path

import watchfiles

_DEFAULT = watchfiles.DefaultFilter
_IGNORED_FOLDERS = (*_DEFAULT.ignore_dirs, "venv", "env")
# endings of files that an app writes while it runs, and what SQLite appends: app.db-wal
_WRITTEN_BY_APPS = r"\.(log|pid|sock|tmp|db|sqlite|sqlite3)(-\w+)?$"


async def changes(folders: Collection[Path]) -> AsyncIterator[set[Path]]:
    """Yield the files that change, appear or disappear in these folders, in batches."""
    async for batch in watchfiles.awatch(
        *folders,
        watch_filter=edit_filter(),
        ignore_permission_denied=True,
    ):
        if files := _edited(batch):
            yield files


def _edited(batch: Collection[tuple[watchfiles.Change, str]]) -> set[Path]:
    # an editor may write a file under another name, and then rename it
    came, gone = (
        {path for change, path in batch if change == kind}
        for kind in (watchfiles.Change.added, watchfiles.Change.deleted)
    )
    temporary = {path for path in came & gone if not os.path.lexists(path)}
    files = [Path(path) for _, path in batch if path not in temporary]
    # some systems report a linked folder by the link, others by its real name
    return {file.parent.resolve() / file.name for file in files}


def edit_filter() -> watchfiles.DefaultFilter:
    """Return a filter without caches, environments, and files that an app writes."""
    return _DEFAULT(
        ignore_dirs=_IGNORED_FOLDERS,
        ignore_entity_patterns=(*_DEFAULT.ignore_entity_patterns, _WRITTEN_BY_APPS),
    )


def watched_folders(
    folder: Path, ignored: Collection[str] = _IGNORED_FOLDERS
) -> set[Path]:
    """Return the folders of an app to watch with everything below them.

    Not every system reports changes behind a link, so the list has the target of each
    link in the app.
    """
    folders = {folder.resolve()}
    for parent, names, _ in os.walk(folder):
        names[:] = [name for name in names if name not in ignored]
        links = (Path(parent, name) for name in names)
        folders |= {link.resolve() for link in links if link.is_symlink()}
    return folders
