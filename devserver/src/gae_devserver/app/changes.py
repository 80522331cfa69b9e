"""Which files of the app have changed, for --reload."""

import asyncio
import os
from collections.abc import AsyncGenerator, Collection
from pathlib import Path

import watchfiles

from gae_devserver.app.snapshot import IGNORED_FOLDERS, Snapshot

_DEFAULT = watchfiles.DefaultFilter
# endings of files that an app writes while it runs, and what SQLite appends: app.db-wal
_WRITTEN_BY_APPS = r"\.(log|pid|sock|tmp|db|sqlite|sqlite3)(-\w+)?$"
# where Emacs saves what is typed but not saved
_AUTO_SAVED = r"^#.*#$"


async def changes(
    folders: Collection[Path], since: Snapshot | None = None
) -> AsyncGenerator[set[Path]]:
    """Yield the files that change, appear or disappear in these folders, in batches.

    The first batch is what has changed since a snapshot.
    """
    is_edit = edit_filter()
    batches = watchfiles.awatch(
        *folders, watch_filter=is_edit, ignore_permission_denied=True
    )
    following = asyncio.ensure_future(anext(batches))
    try:
        # the system reports changes from the first step of `batches` on
        await asyncio.sleep(0)
        if since is not None:
            modified = watchfiles.Change.modified
            early = {path for path in since.changed() if is_edit(modified, str(path))}
            if early:
                yield early
        while True:
            batch = await following
            following = asyncio.ensure_future(anext(batches))
            if files := _edited(batch):
                yield files
    finally:
        following.cancel()
        # it ends a thread
        await asyncio.wait({following})


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
        ignore_dirs=(*_DEFAULT.ignore_dirs, *IGNORED_FOLDERS),
        ignore_entity_patterns=(
            *_DEFAULT.ignore_entity_patterns,
            _WRITTEN_BY_APPS,
            _AUTO_SAVED,
        ),
    )
