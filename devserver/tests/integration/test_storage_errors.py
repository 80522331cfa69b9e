"""The command reports a storage that it cannot use, and leaves it as it is."""

import subprocess
import sys
from pathlib import Path

import pytest

from gae_devserver.storage.storage import (
    FILE_NAME,
    Storage,
)
from gae_devserver.testing.processes import running
from tests.helpers.app_folder import HELLO, make_app
from tests.helpers.calls import (
    PROJECT,
    Server,
    reference,
)

LONG = "unit-project"
WAL_NAME = f"{FILE_NAME}-wal"


def run_server(
    app: Path, folder: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    """Run a server that does not start."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "gae_devserver", str(app), "--port", "0"),
            *("--storage", str(folder), *options),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("damage", ["text", "another project"])
def test_a_file_that_cannot_be_used(tmp_path: Path, damage: str) -> None:
    """The server does not start on such a file: one line, exit status 2."""
    folder = tmp_path / "storage"
    Storage(folder, PROJECT).close()
    path = folder / FILE_NAME
    if damage == "text":
        path.write_text("This is no database.\n" * 100)
    before = path.read_bytes()
    app = make_app(tmp_path / "app")

    ended = run_server(app, folder)

    assert ended.returncode == 2
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("gae-devserver: error: ")
    assert str(path) in line
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    """The server does not start: one line with the folder and the option."""
    folder = make_app(tmp_path / "app") / "main.py" / "storage"

    ended = run_server(tmp_path / "app", folder)

    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert f" {folder} " in line
    assert "--storage" in line
    assert "Errno" not in line


def contents(folder: Path) -> dict[str, bytes]:
    """Return what is in the database and in its WAL."""
    files = (folder / FILE_NAME, folder / WAL_NAME)
    return {file.name: file.read_bytes() if file.exists() else b"" for file in files}


# Says who it is, so that a test can look whether it is still there.
TELLS_ITS_PROCESS = """\
import os, pathlib
pathlib.Path("pid").write_text(str(os.getpid()))
"""


@pytest.mark.asyncio
async def test_an_entity_that_cannot_be_read(tmp_path: Path, sdk_state: None) -> None:
    """The server ends the app again: one line, exit status 2, nothing changed."""
    folder = tmp_path / "storage"
    storage = Storage(folder, PROJECT)
    server = Server(storage=storage)
    await server.request().put(reference("Counter", "x"), 1)
    # SQLite cannot know that this is wrong
    cut = "UPDATE entities SET entity = substr(entity, 1, length(entity) - 1)"
    storage._db.execute(cut)
    # the command takes no name as short as that of these tests
    storage._db.execute("UPDATE about SET value = ? WHERE value = ?", (LONG, PROJECT))
    storage.close()
    before = contents(folder)
    app = make_app(tmp_path / "app", TELLS_ITS_PROCESS + HELLO)

    ended = run_server(app, folder, "--project", LONG)

    assert ended.returncode == 2
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    line = ended.stderr.splitlines()[-1]
    assert line.startswith(f"gae-devserver: error: {folder / FILE_NAME} is damaged: ")
    assert contents(folder) == before
    pid = app / "pid"
    assert not pid.exists() or not running({int(pid.read_text())})
