"""Files that cannot be used, and what a server leaves of those that can."""

import contextlib
import os
import random
import shutil
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gae_devserver.datastore_v1.server import DatastoreV1
from gae_devserver.storage.storage import FILE_NAME, Storage, StorageError
from tests.helpers.calls import PROJECT, reference
from tests.unit.storage.conftest import Starts

WAL_NAME = f"{FILE_NAME}-wal"


def make_storage(folder: Path) -> Path:
    """Make a storage with a thousand tasks in it; return its file."""
    storage = Storage(folder, PROJECT)
    for number in range(1000):
        storage.put_task("default", f"task-{number}", b"x" * 100)
    storage.close()
    return folder / FILE_NAME


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
    """Return the database and its WAL; an empty WAL counts as none."""
    files = (folder / FILE_NAME, folder / WAL_NAME)
    return {file.name: file.read_bytes() if file.is_file() else b"" for file in files}


def refusal(folder: Path, project: str = PROJECT) -> str:
    """Return the line with which a storage is refused, and left as it was."""
    before = contents(folder)
    with pytest.raises(StorageError) as error:
        Storage(folder, project)
    assert contents(folder) == before
    message = str(error.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def write_page(path: Path) -> None:
    """Overwrite pages in the middle of a file."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(random.Random(1).randbytes(8192))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut off": lambda path: os.truncate(path, path.stat().st_size // 2),
    "cut off in a page": lambda path: os.truncate(path, 5000),
    "only its head": lambda path: os.truncate(path, 100),
    "garbage in it": write_page,
    "garbage": lambda path: path.write_bytes(random.Random(1).randbytes(50_000)),
    "text": lambda path: path.write_text("This is no database.\n" * 100),
}


@pytest.mark.parametrize("make", [make_storage, kill_storage])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file(
    folder: Path, damage: str, make: Callable[[Path], Path]
) -> None:
    """A damaged file is named and left as it is, and so is its WAL."""
    path = make(folder)
    DAMAGES[damage](path)
    message = refusal(folder)
    assert message.startswith(f"{path} is damaged: ")
    assert "--storage" in message


@pytest.mark.parametrize(("column", "kind"), [("name", "BLOB"), ("task", "TEXT")])
def test_a_type_that_changed(folder: Path, column: str, kind: str) -> None:
    """One bit decides whether SQLite reads the same bytes as text."""
    path = make_storage(folder)
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute(f"UPDATE tasks SET {column} = CAST({column} AS {kind})")
    assert refusal(folder).startswith(f"{path} is damaged: ")


FLIPPED = (FILE_NAME, WAL_NAME, f"{FILE_NAME}-acknowledged")


@pytest.mark.parametrize("name", FLIPPED)
def test_a_bit_that_changed(tmp_path: Path, name: str) -> None:
    """Whichever bit of a file has changed, all is there, or the start is refused."""
    killed = kill_storage(tmp_path / "killed").parent
    expected = stored_in(shutil.copytree(killed, tmp_path / "copy"))
    size = (killed / name).stat().st_size
    random_bits = random.Random(1).sample(range(size * 8), 90)
    outcomes = []
    for bit in [*range(0, min(size, 100) * 8, 9), *random_bits]:
        folder = shutil.copytree(killed, tmp_path / str(bit))
        data = bytearray((folder / name).read_bytes())
        data[bit // 8] ^= 1 << bit % 8
        (folder / name).write_bytes(data)
        try:
            outcomes.append(stored_in(folder) == expected)
        except StorageError:
            outcomes.append(True)
        shutil.rmtree(folder)
    assert all(outcomes)


def stored_in(folder: Path) -> list[Any]:
    """Return the tasks in a storage, after a start and an end."""
    storage = Storage(folder, PROJECT)
    try:
        with storage.reading("a task"):
            return [(queue, name, task) for queue, name, task, _ in storage.tasks()]
    finally:
        storage.close()


@pytest.mark.parametrize(
    "lose",
    [
        Path.unlink,
        lambda wal: os.truncate(wal, wal.stat().st_size - 4096),
        lambda wal: os.truncate(wal, 1000),
    ],
)
def test_a_wal_that_is_cut_off(folder: Path, lose: Callable[[Path], None]) -> None:
    """A storage without its last changes is refused until you accept the loss."""
    path = kill_storage(folder)
    lose(folder / WAL_NAME)
    assert refusal(folder).startswith(f"{path} is damaged: ")
    (folder / f"{FILE_NAME}-acknowledged").unlink()
    assert len(stored_in(folder)) == 1000


def test_a_file_of_the_version_before(folder: Path) -> None:
    """It gets the checksums of its rows, and new tables, at the next start."""
    path = make_storage(folder)
    with sqlite3.connect(path) as db:
        for table in ("entities", "counters", "tasks"):
            db.execute(f"ALTER TABLE {table} DROP COLUMN seal")
        for table in ("queues", "records"):
            db.execute(f"DROP TABLE {table}")
        db.execute("UPDATE about SET value = '1' WHERE name = 'format'")
    db.close()
    assert len(stored_in(folder)) == len(stored_in(folder)) == 1000
    with sqlite3.connect(path) as db:
        db.execute("UPDATE tasks SET task = 'changed' WHERE name = 'task-7'")
    db.close()
    assert refusal(folder).startswith(f"{path} is damaged: ")


@pytest.mark.parametrize("lost", [Path.unlink, lambda path: os.truncate(path, 0)])
def test_a_wal_without_its_file(folder: Path, lost: Callable[[Path], None]) -> None:
    """The WAL of a killed server is kept even if the database is missing."""
    lost(kill_storage(folder))
    assert str(folder / WAL_NAME) in refusal(folder)


def other_database(folder: Path) -> None:
    """Make a database that is not the dev server's."""
    folder.mkdir()
    with sqlite3.connect(folder / FILE_NAME) as db:
        db.execute("CREATE TABLE mine (a)")
    db.close()


def other_format(folder: Path) -> None:
    """Make a storage of another version of the server."""
    with sqlite3.connect(make_storage(folder)) as db:
        db.execute("UPDATE about SET value = '99' WHERE name = 'format'")
    db.close()


@pytest.mark.parametrize(
    ("make", "fact"),
    [
        (other_database, "another program"),
        (other_format, "format 99"),
        (lambda folder: folder.write_text("no folder"), "not a folder"),
        # Not even root can write a file where there is a folder.
        (lambda folder: (folder / FILE_NAME).mkdir(parents=True), "cannot be"),
    ],
)
def test_something_else_in_its_place(
    folder: Path, make: Callable[[Path], object], fact: str
) -> None:
    """A file or folder that is not a storage of this version is left alone."""
    make(folder)
    assert fact in refusal(folder)


@pytest.mark.parametrize("make", [make_storage, kill_storage])
def test_another_project(folder: Path, make: Callable[[Path], Path]) -> None:
    """A wrong project is refused with both names, and changes nothing."""
    make(folder)
    assert f"{PROJECT!r}, not 'another'" in refusal(folder, "another")
    storage = Storage(folder, PROJECT)
    assert len(list(storage.tasks())) == (1000 if make == make_storage else 1100)
    storage.close()


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    """A folder that the system does not allow is named."""
    with pytest.raises(StorageError, match="too long") as error:
        Storage(tmp_path / ("x" * 300), PROJECT)
    assert "x" * 300 in str(error.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root has all permissions")
@pytest.mark.parametrize(("mode", "below"), [(0o000, "below"), (0o500, "")])
def test_a_folder_without_permission(folder: Path, mode: int, below: str) -> None:
    """A folder that cannot be entered, or not written to, is named."""
    folder.mkdir(mode=mode)
    with pytest.raises(StorageError) as error:
        Storage(folder / below, PROJECT)
    assert str(folder / below) in str(error.value)


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


def test_two_that_start_at_once(folder: Path) -> None:
    """Of two servers that start on a new folder, the first to come gets it."""

    def connect(*args: Any, **options: Any) -> sqlite3.Connection:
        with pytest.raises(StorageError, match="in use"):
            Storage(folder, PROJECT)
        return sqlite3.connect(*args, **options)

    Storage(folder, PROJECT, connect=connect).close()


def test_only_this_user_can_read_it(folder: Path) -> None:
    """Writing tasks lets the app run code, and reading them reveals data."""
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
    """A server that was stopped leaves one file, even after one that was killed."""
    path = kill_storage(folder)
    for _ in range(2):
        Storage(folder, PROJECT).close()
        assert list(folder.iterdir()) == [path]


UNREADABLE = {
    "entity": "UPDATE entities SET entity = substr(entity, 1, length(entity) - 1)",
    "named database": "UPDATE entities SET entity = x'ff', database = 'other'",
    "task": "UPDATE tasks SET task = substr(task, 1, length(task) - 1)",
    "name of a task": "UPDATE tasks SET name = 'another'",
    "text": "UPDATE tasks SET queue = CAST(x'ff' AS TEXT)",
    "counter": "UPDATE counters SET value = 'text' WHERE name LIKE '%ids%'",
}
"""Damages that SQLite cannot detect."""


@pytest.mark.asyncio
@pytest.mark.parametrize("damage", UNREADABLE)
async def test_content_that_cannot_be_read(
    start: Starts, folder: Path, damage: str
) -> None:
    """Content that SQLite accepts and the services do not is damage too."""
    api = start().request()
    await api.put(reference("Counter", None), 1)
    await api.add("named")
    start.sql(UNREADABLE[damage])

    def start_again() -> None:
        services = start().services
        DatastoreV1(services.datastore, services.app_id, storage=start.storage)

    with pytest.raises(StorageError) as error:
        start_again()
    message = str(error.value)
    assert message.startswith(f"{folder / FILE_NAME} is damaged: ")
    assert "\n" not in message
