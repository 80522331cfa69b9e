"""Killed at any point, the server has stored all that it acknowledged."""

import itertools
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gae_devserver.storage.storage import (
    Storage,
)
from tests.helpers.calls import (
    PROJECT,
    AppRequest,
    Server,
    reference,
)

FOLDER = Path(__file__).resolve().parents[2]
"""Where the scripts below find `tests`."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the storage is."""
    return tmp_path / "storage"


@pytest.fixture
def reopen(sdk_state: None) -> Iterator[Callable[[Path], AppRequest]]:
    """Open what a killed server has stored, as its next start does."""
    servers: list[Server] = []

    def reopen(folder: Path) -> AppRequest:
        servers.append(Server(storage=Storage(folder, PROJECT)))
        return servers[-1].request()

    yield reopen
    for server in servers:
        server.services.close()


# Commits a transaction of two entity groups, a deletion and two tasks, and kills itself
# at one point of that. Prints "answered" if the answer gets as far as to the app.
VICTIM = """\
import asyncio, functools, os, signal, sys
from pathlib import Path
from gae_devserver.datastore import stub as datastore
from gae_devserver.tasks import stub as taskqueue
from gae_devserver.storage.storage import Storage
from tests.helpers.calls import PROJECT, Server, add_request, reference

point, count, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
left = [10**9]

def die(*_):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)

def kill_before(owner, name):
    function = getattr(owner, name)
    @functools.wraps(function)
    def call(*args, **options):
        die()
        return function(*args, **options)
    setattr(owner, name, call)

async def main():
    storage = Storage(Path(folder), PROJECT)
    api = Server(storage=storage).request()
    old, new, other = (reference("Counter", name) for name in ("old", "new", "other"))
    await api.put(old, 1)
    await api.put(new, 1)
    transaction = await api.begin(allow_multiple_eg=True)
    await api.put(new, 2, transaction)
    await api.put(other, 2, transaction)
    from google.appengine.datastore import datastore_pb
    delete = datastore_pb.DeleteRequest(key=[old])
    delete.transaction.CopyFrom(transaction)
    await api.call("datastore_v3", "Delete", delete)
    await api.bulk_add([add_request(transaction=transaction) for _ in range(2)])
    left[0] = count
    match point:
        case "entity":
            kill_before(datastore.Datastore, "_StoreRecord")
        case "deletion":
            kill_before(datastore.Datastore, "_Delete")
        case "task":
            kill_before(taskqueue.Queue, "_InsertTask")
        case "flush":
            kill_before(Storage, "flush")
        case "statement":
            storage._db.set_trace_callback(die)
    await api.commit(transaction)
    if point == "answer":
        die()
    print("answered", flush=True)
    die()

asyncio.run(main())
"""

POINTS = [
    ("entity", 1),
    ("entity", 2),
    ("deletion", 1),
    ("task", 1),
    ("task", 2),
    ("flush", 1),
    *(("statement", number) for number in range(1, 8)),  # the last one is COMMIT
    ("answer", 1),
    ("answer", 2),
]


def run_victim(point: str, count: int, folder: Path) -> str:
    """Run it to its end by SIGKILL; return what it printed."""
    victim = subprocess.run(
        [sys.executable, "-c", VICTIM, point, str(count), str(folder)],
        cwd=FOLDER,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=30,
    )
    assert victim.returncode == -signal.SIGKILL, f"{point} {count} was never reached"
    return victim.stdout


@pytest.mark.asyncio
async def test_all_of_a_transaction_or_nothing(
    reopen: Callable[[Path], AppRequest], tmp_path: Path
) -> None:
    """Killed anywhere in a commit, the server has all of it or nothing.

    All of it if it was answered. Every point of the commit is tried: between its
    entities, between its tasks, before each SQL statement, before and after the
    answer.
    """
    found = {}
    for point, count in POINTS:
        folder = tmp_path / f"{point}-{count}"
        said = run_victim(point, count, folder)
        api = reopen(folder)
        keys = [reference("Counter", name) for name in ("old", "new", "other")]
        state = [*[await api.get(key) for key in keys], len(await api.tasks())]
        assert state in ([1, 1, None, 0], [None, 2, 2, 2]), (point, count)
        found[point, count] = state[3] == 2
        if said:
            assert found[point, count]
    assert [where for where, all_of_it in found.items() if all_of_it] == [
        ("answer", 1),
        ("answer", 2),
    ]


# Puts entities and adds tasks until it is killed, and prints each after its answer.
BUSY = """\
import asyncio, sys
from pathlib import Path
from gae_devserver.storage.storage import Storage
from tests.helpers.calls import PROJECT, Server, reference

async def main():
    api = Server(storage=Storage(Path(sys.argv[1]), PROJECT)).request()
    number = 0
    while True:
        number += 1
        await api.put(reference("Counter", f"n{number}"), number)
        print("entity", number, flush=True)
        await api.add(f"task-{number}", due_in=1000)
        print("task", number, flush=True)

asyncio.run(main())
"""


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(3))
async def test_what_was_acknowledged_survives(
    reopen: Callable[[Path], AppRequest], folder: Path, seed: int
) -> None:
    """Killed at a moment of nobody's choice, the server has all that it confirmed."""
    lines = random.Random(seed).randrange(1, 1500)
    busy = subprocess.Popen(  # noqa: ASYNC220 - the loop has nothing else to do
        [sys.executable, "-c", BUSY, str(folder)],
        cwd=FOLDER,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert busy.stdout is not None
    said = [next(busy.stdout) for _ in range(lines)]
    busy.kill()
    # a line that was cut off was confirmed by nobody
    said += [line for line in busy.stdout if line.endswith("\n")]
    busy.wait()
    busy.stdout.close()

    api = reopen(folder)
    stored = {task.task_name.decode() for task in await api.tasks()}
    for line in said:
        what, number = line.split()
        if what == "task":
            assert f"task-{number}" in stored
        else:
            assert await api.get(reference("Counter", f"n{number}")) == int(number)


# Opens a new storage, and kills itself before one of SQLite's statements.
OPENING = """\
import os, signal, sqlite3, sys
from pathlib import Path
from gae_devserver.storage.storage import Storage

left = int(sys.argv[1])

def die(_):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

class Connection(sqlite3.Connection):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.set_trace_callback(die)

connect = sqlite3.connect
sqlite3.connect = lambda *args, **options: connect(*args, **options, factory=Connection)
Storage(Path(sys.argv[2]), "unit")
"""


def test_killed_while_it_is_made(tmp_path: Path) -> None:
    """Killed at any point of its first start, a server leaves what can be opened."""
    for number in itertools.count(1):
        folder = tmp_path / str(number)
        command = [sys.executable, "-c", OPENING, str(number), str(folder)]
        ended = subprocess.run(command, cwd=FOLDER, check=False, timeout=30)
        storage = Storage(folder, PROJECT)
        assert list(storage.tasks()) == []
        storage.close()
        if not ended.returncode:
            break
        assert ended.returncode == -signal.SIGKILL
    assert number > 10
