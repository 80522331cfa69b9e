"""Which edits of an app the server sees."""

import asyncio
import os
from pathlib import Path

import pytest
import watchfiles

from gae_devserver.app.changes import changes, edit_filter
from gae_devserver.app.snapshot import Snapshot, watched_folders
from tests.helpers.waiting import until


def test_folders_behind_links_are_watched(tmp_path: Path) -> None:
    """Not every system reports edits behind a link, so its target is watched."""
    app, common, deep = tmp_path / "app", tmp_path / "common", tmp_path / "deep"
    for folder in (app / "lib", app / "node_modules", common, deep):
        folder.mkdir(parents=True)
    (app / "common").symlink_to("../common")
    (app / "lib" / "deep").symlink_to(deep)
    (app / "node_modules" / "other").symlink_to(tmp_path)
    folders = watched_folders(app)
    assert folders == {app.resolve(), common.resolve(), deep.resolve()}


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("main.py", True),
        ("templates/a.html", True),
        ("logs.py", True),
        ("__pycache__/main.pyc", False),
        ("venv/lib/x.py", False),
        ("app.log", False),
        ("db.sqlite3", False),
        ("db.sqlite3-wal", False),
        ("#main.py#", False),
    ],
)
def test_files_that_are_no_edits(file: str, expected: bool) -> None:
    """Caches, logs and databases would restart the app again and again."""
    assert edit_filter()(watchfiles.Change.modified, f"/app/{file}") is expected


@pytest.mark.asyncio
async def test_the_temporary_file_of_an_editor(tmp_path: Path) -> None:
    """A file that is renamed at once is reported under its final name alone."""
    file, temporary = tmp_path.resolve() / "app.yaml", tmp_path / "sed1234"
    file.write_text("old")
    watching = changes([tmp_path])
    batch = asyncio.ensure_future(anext(watching))
    # it may not watch yet
    first = tmp_path.resolve() / "first"
    await until(lambda: first.touch() or batch.done())  # type: ignore[func-returns-value]
    temporary.write_text("new")
    temporary.rename(file)
    seen = set(batch.result())
    while file not in seen:
        seen |= await asyncio.wait_for(anext(watching), 30)
    assert seen == {first, file}
    await watching.aclose()


@pytest.mark.asyncio
async def test_edits_before_watching_begins(tmp_path: Path) -> None:
    """The first batch is what has changed since a snapshot, behind links too."""
    app, common, settings = (tmp_path / n for n in ("app", "common", "other/app.yaml"))
    for folder in (app / "lib", app / "venv", common, settings.parent):
        folder.mkdir(parents=True)
    (app / "common").symlink_to("../common")
    changed, gone, new, same, log, linked, package = (
        app / "main.py",
        app / "lib" / "gone.py",
        app / "lib" / "new.py",
        app / "same.py",
        app / "app.log",
        common / "linked.py",
        app / "venv" / "package.py",
    )
    for file in (changed, gone, same, log, linked, package):
        file.write_text("old")
    before = changed.stat()
    since = Snapshot()
    since.add([settings])
    since.add_folder(app)
    gone.unlink()
    for file in (new, log, linked, package, settings):
        file.write_text("newer")
    # an editor may keep the size and the time
    fresh = app / "fresh"
    fresh.write_text("new")
    os.utime(fresh, ns=(before.st_atime_ns, before.st_mtime_ns))
    fresh.rename(changed)
    watching = changes([app, common], since)
    early = await asyncio.wait_for(anext(watching), 30)
    root = tmp_path.resolve()
    expected = (changed, gone, new, linked, settings)
    assert early == {root / file.relative_to(tmp_path) for file in expected}
    following = asyncio.ensure_future(anext(watching))
    same.write_text("edited")
    assert await asyncio.wait_for(following, 30) == {root / "app" / "same.py"}
    await watching.aclose()
