"""The command reports a storage that it cannot use, and leaves it as it is."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from gae_devserver.storage.storage import FILE_NAME, Storage
from gae_devserver.testing.processes import running
from tests.helpers.app_folder import HELLO, make_app
from tests.helpers.calls import PROJECT, Server, reference

# Writes its process id, so that a test can see whether it still runs.
WRITES_ITS_PROCESS = """\
import os, pathlib
pathlib.Path("pid").write_text(str(os.getpid()))
"""


def refusal(app: Path, folder: Path, *options: str) -> str:
    """Return the last line with which a server does not start: exit status 2."""
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "gae_devserver",
            str(app),
            "--port=0",
            f"--storage={folder}",
            *options,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    line = ended.stderr.splitlines()[-1]
    assert line.startswith("gae-devserver: error: ")
    assert "Errno" not in line
    return line


def contents(folder: Path) -> dict[str, bytes]:
    """Return the database and its WAL; an empty WAL counts as none."""
    return {
        file.name: data
        for file in folder.iterdir()
        if not file.name.endswith("-shm") and (data := file.read_bytes())
    }


@pytest.mark.parametrize("damage", ["text", "another project"])
def test_a_file_that_cannot_be_used(tmp_path: Path, damage: str) -> None:
    """The line names the file, which is not changed."""
    folder = tmp_path / "storage"
    Storage(folder, PROJECT).close()
    if damage == "text":
        (folder / FILE_NAME).write_text("This is no database.\n" * 100)
    before = contents(folder)
    line = refusal(make_app(tmp_path / "app"), folder)
    assert str(folder / FILE_NAME) in line
    assert contents(folder) == before


def test_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    """The line names the folder and the option."""
    app = make_app(tmp_path / "app")
    folder = app / "main.py" / "storage"
    line = refusal(app, folder)
    assert f" {folder} " in line
    assert "--storage" in line


@pytest.mark.asyncio
async def test_an_entity_that_cannot_be_read(tmp_path: Path, sdk_state: None) -> None:
    """The server also stops the app, which has started already."""
    folder = tmp_path / "storage"
    storage = Storage(folder, "unit-project")
    await Server(storage=storage).request().put(reference("Counter", "x"), 1)
    storage.close()
    with sqlite3.connect(folder / FILE_NAME) as db:
        # SQLite cannot detect this damage.
        db.execute("UPDATE entities SET entity = substr(entity, 1, length(entity) - 1)")
    db.close()
    before = contents(folder)
    app = make_app(tmp_path / "app", WRITES_ITS_PROCESS + HELLO)
    line = refusal(app, folder, "--project=unit-project")
    assert f"{folder / FILE_NAME} is damaged: " in line
    assert contents(folder) == before
    pid = app / "pid"
    assert not pid.exists() or not running({int(pid.read_text())})
