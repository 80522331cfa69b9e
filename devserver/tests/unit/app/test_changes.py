"""Which edits of an app the server sees."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from gae_devserver.app.changes import changes, watched_folders
from tests.helpers.waiting import PATIENCE, until

pytestmark = pytest.mark.asyncio


class Watcher:
    """Collects the files that `changes` names."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.seen: set[Path] = set()

    async def __aenter__(self) -> "Watcher":
        self._task = asyncio.create_task(self._collect())
        # write a file until it is seen: from then on, the folder is watched
        probe = self._folder / "probe"
        async with asyncio.timeout(PATIENCE):
            while not self.seen:
                probe.write_text(probe.read_text() + "x" if probe.exists() else "")
                await asyncio.sleep(0.05)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _collect(self) -> None:
        async for batch in changes(self._folder):
            self.seen |= batch

    async def sees(self, path: Path) -> None:
        """Wait until a file is named."""
        await until(lambda: path.resolve() in self.seen)


async def test_changes_are_seen(tmp_path: Path) -> None:
    """Edits count in the app, in its folders, and in the folder behind a link."""
    app, common = tmp_path / "app", tmp_path / "common"
    (app / "templates").mkdir(parents=True)
    common.mkdir()
    (app / "common").symlink_to("../common")
    (common / "counter.py").write_text("")
    files = [app / "main.py", app / "templates" / "a.html", common / "counter.py"]
    async with Watcher(app) as watcher:
        for file in files:
            file.write_text("changed")
            await watcher.sees(file)
        files[0].unlink()
        watcher.seen.clear()
        await watcher.sees(files[0])


async def test_folders_behind_links_are_watched(tmp_path: Path) -> None:
    """Not every system reports edits behind a link, so its target is watched."""
    app, common, deep = tmp_path / "app", tmp_path / "common", tmp_path / "deep"
    for folder in (app / "lib", app / "node_modules", common, deep):
        folder.mkdir(parents=True)
    (app / "common").symlink_to("../common")
    (app / "lib" / "deep").symlink_to(deep)
    (app / "node_modules" / "other").symlink_to(tmp_path)
    folders = watched_folders(app, ["node_modules"])
    assert folders == {app.resolve(), common.resolve(), deep.resolve()}


async def test_files_that_an_app_writes_are_no_change(tmp_path: Path) -> None:
    """Caches, logs and databases would restart the app again and again."""
    async with Watcher(tmp_path) as watcher:
        (tmp_path / "__pycache__").mkdir()
        for name in ("__pycache__/main.pyc", "app.log", "db.sqlite3", "db.sqlite3-wal"):
            (tmp_path / name).write_text("x")
        (tmp_path / "last.py").write_text("x")
        await watcher.sees(tmp_path / "last.py")
        assert {path.name for path in watcher.seen} == {"probe", "last.py"}
