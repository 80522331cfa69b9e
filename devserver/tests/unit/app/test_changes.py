"""Which edits of an app the server sees."""

import asyncio
from pathlib import Path

import pytest
import watchfiles

from gae_devserver.app.changes import changes, edit_filter, watched_folders


def test_folders_behind_links_are_watched(tmp_path: Path) -> None:
    """Not every system reports edits behind a link, so its target is watched."""
    app, common, deep = tmp_path / "app", tmp_path / "common", tmp_path / "deep"
    for folder in (app / "lib", app / "node_modules", common, deep):
        folder.mkdir(parents=True)
    (app / "common").symlink_to("../common")
    (app / "lib" / "deep").symlink_to(deep)
    (app / "node_modules" / "other").symlink_to(tmp_path)
    folders = watched_folders(app, ["node_modules"])
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
    ],
)
def test_files_that_an_app_writes_are_no_edits(file: str, expected: bool) -> None:
    """Caches, logs and databases would restart the app again and again."""
    assert edit_filter()(watchfiles.Change.modified, f"/app/{file}") is expected


@pytest.mark.asyncio
async def test_the_temporary_file_of_an_editor(tmp_path: Path) -> None:
    """A file that is renamed at once is reported under its final name alone."""
    file, temporary = tmp_path.resolve() / "app.yaml", tmp_path / "sed1234"
    file.write_text("old")
    watching = changes([tmp_path])
    batch = asyncio.ensure_future(anext(watching))
    await asyncio.sleep(0)
    temporary.write_text("new")
    temporary.rename(file)
    assert await asyncio.wait_for(batch, 30) == {file}
