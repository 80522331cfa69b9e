"""Files that cannot be used, and what is left of those that can."""

import os
import random
import shutil
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from gae_devserver.datastore_v1.server import DatastoreV1
from gae_devserver.storage.file import StorageFile
from gae_devserver.storage.storage import (
    FILE_NAME,
    Storage,
    StorageError,
)
from tests.helpers.calls import (
    PROJECT,
    Server,
    reference,
)

START = pytest.mark.asyncio


def make_storage(folder: Path) -> Path:
    """Make a storage with a thousand tasks in it; return its file."""
    storage = Storage(folder, PROJECT)
    for number in range(1000):
        storage.put_task("default", f"task-{number}", b"x" * 100)
    storage.close()
    return folder / FILE_NAME


def write_page(path: Path) -> None:
    """Overwrite pages in the middle of a file."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(random.Random(1).randbytes(8192))


WAL_NAME = f"{FILE_NAME}-wal"

DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut off": lambda path: os.truncate(path, path.stat().st_size // 2),
    "cut off in a page": lambda path: os.truncate(path, 5000),
    "only its head": lambda path: os.truncate(path, 100),
    "garbage in it": write_page,
    "garbage": lambda path: path.write_bytes(random.Random(1).randbytes(50_000)),
    "text": lambda path: path.write_text("This is no database.\n" * 100),
}


def kill_storage(folder: Path) -> Path:
    """Make a storage as a killed server leaves it: the last tasks are in its WAL."""
    made = folder.with_name("made")
    make_storage(made)
    storage = Storage(made, PROJECT)
    for number in range(100):
        storage.put_task("default", f"late-{number}", b"x" * 100)
    storage.flush()
    shutil.copytree(made, folder)
    storage.close()
    assert (folder / WAL_NAME).stat().st_size > 0
    return folder / FILE_NAME


def contents(folder: Path) -> dict[str, bytes]:
    """Return what is in the database and in its WAL."""
    files = (folder / FILE_NAME, folder / WAL_NAME)
    return {file.name: file.read_bytes() if file.exists() else b"" for file in files}


@pytest.mark.parametrize("make", [make_storage, kill_storage])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file(
    folder: Path, damage: str, make: Callable[[Path], Path]
) -> None:
    """A damaged file is named and left as it is, and so is its WAL."""
    path = make(folder)
    DAMAGES[damage](path)
    before = contents(folder)

    with pytest.raises(StorageError) as error:
        Storage(folder, PROJECT)
    message = str(error.value)
    assert message.startswith(f"{path} is damaged: ")
    assert f"move the folder {folder} " in message
    assert "--storage" in message
    assert "\n" not in message
    assert contents(folder) == before


@pytest.mark.parametrize("lost", [Path.unlink, lambda path: os.truncate(path, 0)])
def test_a_wal_without_its_file(folder: Path, lost: Callable[[Path], None]) -> None:
    """What a killed server has left is not deleted because the rest is not there."""
    path = kill_storage(folder)
    lost(path)
    before = contents(folder)

    with pytest.raises(StorageError) as error:
        Storage(folder, PROJECT)
    assert str(error.value).startswith(f"{path} ")
    assert str(folder / WAL_NAME) in str(error.value)
    assert contents(folder) == before


def test_two_begin_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two servers that begin on a new folder, the first to come gets it."""
    look = StorageFile._is_empty

    def look_while_another_begins(file: StorageFile) -> bool:
        monkeypatch.setattr(StorageFile, "_is_empty", look)
        with pytest.raises(StorageError, match="in use"):
            Storage(folder, PROJECT)
        return look(file)

    monkeypatch.setattr(StorageFile, "_is_empty", look_while_another_begins)
    Storage(folder, PROJECT).close()


def test_only_this_user_can_look_into_it(folder: Path) -> None:
    """Whoever can write tasks can run code, and some can be read from them."""
    old = os.umask(0)
    try:
        storage = Storage(folder, PROJECT)
        storage.set_counter("c", 1)
        storage.flush()
    finally:
        os.umask(old)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = list(folder.iterdir())
    assert len(files) > 1
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    storage.close()


def test_one_file_is_left(folder: Path) -> None:
    """A server that was stopped leaves one file, also after one that was killed."""
    path = kill_storage(folder)
    for _ in range(2):
        Storage(folder, PROJECT).close()
        assert list(folder.iterdir()) == [path]


def test_an_empty_file_is_a_new_one(folder: Path) -> None:
    """A server that is killed while it makes the file leaves one without content."""
    folder.mkdir()
    (folder / FILE_NAME).touch()

    Storage(folder, PROJECT).close()

    storage = Storage(folder, PROJECT)
    assert list(storage.tasks()) == []
    storage.close()


def test_another_project(folder: Path) -> None:
    """The storage of another project is refused with both names."""
    path = make_storage(folder)
    before = path.read_bytes()

    with pytest.raises(StorageError, match=f"{PROJECT!r}, not 'another'") as error:
        Storage(folder, "another")
    assert str(path) in str(error.value)
    assert path.read_bytes() == before


def test_another_project_after_a_kill(folder: Path) -> None:
    """What a killed server has left in the WAL file survives a wrong start."""
    kill_storage(folder)
    before = contents(folder)

    with pytest.raises(StorageError, match="not 'another'"):
        Storage(folder, "another")
    assert contents(folder) == before

    storage = Storage(folder, PROJECT)
    assert ("default", "late-99", b"x" * 100) in list(storage.tasks())
    storage.close()


def test_in_use(folder: Path) -> None:
    """A storage belongs to one server at a time, and is free again after its end."""
    storage = Storage(folder, PROJECT)
    try:
        with pytest.raises(StorageError, match="in use") as error:
            Storage(folder, PROJECT)
        assert str(folder / FILE_NAME) in str(error.value)
        storage.put_task("default", "still works", b"")
        storage.flush()
    finally:
        storage.close()

    Storage(folder, PROJECT).close()


def test_the_database_of_something_else(folder: Path) -> None:
    """A database that is not the dev server's is left alone."""
    folder.mkdir()
    path = folder / FILE_NAME
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE mine (a)")
    db.close()
    before = path.read_bytes()

    with pytest.raises(StorageError, match="another program") as error:
        Storage(folder, PROJECT)
    assert str(path) in str(error.value)
    assert path.read_bytes() == before


def test_another_format(folder: Path) -> None:
    """A storage of another version of the server is refused."""
    path = make_storage(folder)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE about SET value = '99' WHERE name = 'format'")
    db.close()

    with pytest.raises(StorageError, match="format 99"):
        Storage(folder, PROJECT)


def test_a_file_in_the_place_of_the_folder(folder: Path) -> None:
    """What is there and is no folder is named."""
    folder.write_text("no folder")

    with pytest.raises(StorageError) as error:
        Storage(folder, PROJECT)
    assert str(error.value).startswith(f"{folder} is a file")
    assert folder.read_text() == "no folder"


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    """What the system does not take for the name of a folder is named."""
    folder = tmp_path / ("x" * 300)

    with pytest.raises(StorageError, match=r"too long") as error:
        Storage(folder, PROJECT)
    assert str(folder / FILE_NAME) in str(error.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter every folder")
def test_below_a_folder_that_one_may_not_enter(folder: Path) -> None:
    """A folder that cannot be looked for is named."""
    folder.mkdir(mode=0o000)

    with pytest.raises(StorageError, match=r"denied") as error:
        Storage(folder / "below", PROJECT)
    assert str(folder / "below") in str(error.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(folder: Path) -> None:
    """A folder that cannot be written to is named."""
    folder.mkdir(mode=0o500)

    with pytest.raises(StorageError, match="cannot be") as error:
        Storage(folder, PROJECT)
    assert str(folder / FILE_NAME) in str(error.value)


def test_a_file_that_is_read_only(folder: Path) -> None:
    """A database that SQLite may only read is named, and no traceback comes."""
    folder.mkdir()
    # a folder where the file should be: for root, too, nothing that can be written
    (folder / FILE_NAME).mkdir()

    with pytest.raises(StorageError, match="cannot be") as error:
        Storage(folder, PROJECT)
    assert str(folder / FILE_NAME) in str(error.value)


# What SQLite cannot know to be wrong: a blob that ends too early, and so on.
UNREADABLE = {
    "entity": "UPDATE entities SET entity = substr(entity, 1, length(entity) - 1)",
    "named database": "UPDATE entities SET entity = x'ff', database = 'other'",
    "task": "UPDATE tasks SET task = substr(task, 1, length(task) - 1)",
    "name of a task": "UPDATE tasks SET name = 'another'",
    "text": "UPDATE tasks SET queue = CAST(x'ff' AS TEXT)",
    "counter": "UPDATE counters SET value = 'text' WHERE name LIKE '%ids%'",
}


async def fill(server: Server) -> None:
    """Store an entity, which gets its id from a counter, and a task."""
    api = server.request()
    await api.put(reference("Counter", None), 1)
    await api.add("named")


@START
@pytest.mark.parametrize("damage", UNREADABLE)
async def test_what_cannot_be_read(
    start: Callable[..., Server], folder: Path, damage: str
) -> None:
    """What SQLite takes for good and the services do not is damage, too."""
    server = start()
    await fill(server)
    server.services._storage._db.execute(UNREADABLE[damage])  # type: ignore[union-attr]

    def start_again() -> None:
        services = start().services
        DatastoreV1(services.datastore, services.app_id, storage=services._storage)

    with pytest.raises(StorageError) as error:
        start_again()
    message = str(error.value)
    assert message.startswith(f"{folder / FILE_NAME} is damaged: ")
    assert "\n" not in message
