"""The command reports a storage that it cannot use, and leaves it as it is."""

from pathlib import Path

from gae_devserver.storage.storage import FILE_NAME, Storage
from gae_devserver.testing.processes import running
from tests.helpers.app_folder import HELLO, make_app
from tests.helpers.command import run

# Writes its process id, so that a test can see whether it still runs.
WRITES_ITS_PROCESS = """\
import os, pathlib
pathlib.Path("pid").write_text(str(os.getpid()))
"""


def refusal(app: Path, folder: Path, *options: str) -> str:
    """Return the last line with which a server does not start: exit status 2."""
    ended = run(app, "--port=0", f"--storage={folder}", *options)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    line = ended.stderr.splitlines()[-1]
    assert line.startswith("gae-devserver: error: ")
    assert "Errno" not in line
    return line


def test_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    """The line names the file."""
    folder = tmp_path / "storage"
    folder.mkdir()
    (folder / FILE_NAME).write_text("This is no database.\n" * 100)
    line = refusal(make_app(tmp_path / "app"), folder)
    assert str(folder / FILE_NAME) in line


def test_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    """The line names the folder and the option."""
    app = make_app(tmp_path / "app")
    folder = app / "main.py" / "storage"
    line = refusal(app, folder)
    assert f" {folder} " in line
    assert "--storage" in line


def test_an_entity_that_cannot_be_read(tmp_path: Path) -> None:
    """The server also stops the app, which has started already."""
    folder = tmp_path / "storage"
    storage = Storage(folder, "unit-project")
    storage.put_entity("", b"key", b"not an entity")
    storage.close()
    before = (folder / FILE_NAME).read_bytes()
    app = make_app(tmp_path / "app", WRITES_ITS_PROCESS + HELLO)
    line = refusal(app, folder, "--project=unit-project")
    assert f"{folder / FILE_NAME} is damaged: " in line
    assert (folder / FILE_NAME).read_bytes() == before
    pid = app / "pid"
    assert not pid.exists() or not running({int(pid.read_text())})
