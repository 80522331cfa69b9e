"""Which files of the app have changed, for --reload."""

import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

# endings of files that an app writes while it runs
_WRITTEN_BY_APPS = ("log", "pid", "sock", "tmp", "db", "sqlite", "sqlite3")


async def changes(folder: Path) -> AsyncIterator[set[Path]]:
    """Yield the files of the app that change, appear or disappear, in batches."""
    import watchfiles

    class Filter(watchfiles.DefaultFilter):
        """Leaves out what watchfiles does, and files that an app writes."""

        ignore_dirs = (*watchfiles.DefaultFilter.ignore_dirs, "venv", "env")
        ignore_entity_patterns = (
            *watchfiles.DefaultFilter.ignore_entity_patterns,
            # with what SQLite appends, too: app.db-wal
            rf"\.({'|'.join(_WRITTEN_BY_APPS)})(-\w+)?$",
        )

    async for batch in watchfiles.awatch(
        *watched_folders(folder, Filter.ignore_dirs),
        watch_filter=Filter(),
        ignore_permission_denied=True,
    ):
        # some systems report a linked folder by the link, others by its real name
        files = [Path(path) for _, path in batch]
        yield {file.parent.resolve() / file.name for file in files}


def watched_folders(folder: Path, ignored: Sequence[str]) -> set[Path]:
    """Return the folders to watch with everything below them.

    Not every system reports changes behind a link, so the list has the target of each
    link in the app.
    """
    folders = {folder.resolve()}
    for parent, names, _ in os.walk(folder):
        names[:] = [name for name in names if name not in ignored]
        links = (Path(parent, name) for name in names)
        folders |= {link.resolve() for link in links if link.is_symlink()}
    return folders
