"""The storage: what was acknowledged is there again, whatever ended the server."""

import asyncio
import itertools
import os
import random
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from gae_devserver.config.queue_yaml import QueueConfig
from gae_devserver.datastore_v1.server import DatastoreV1
from gae_devserver.storage.file import StorageFile
from gae_devserver.storage.storage import (
    FILE_NAME,
    TOMBSTONE_SECONDS,
    Storage,
    StorageError,
)
from gae_devserver.tasks.runner import TaskRunner
from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as pb
from google.appengine.datastore import datastore_pb
from google.appengine.runtime import apiproxy_errors
from google.cloud.datastore_v1.types import datastore as datastore_v1

from tests.devserver.calls import (
    BAD_REQUEST,
    PROJECT,
    PULL,
    TASK_ERRORS,
    App,
    AppRequest,
    Server,
    StoppedClock,
    add_request,
    reference,
    until,
)
from tests.devserver.datastore_v1_server import entity, key
from tests.devserver.processes import HELLO, make_app, running

REPOSITORY = Path(__file__).resolve().parents[2]

KEY = reference("Counter", "x")
OTHER = reference("Counter", "y")

START = pytest.mark.asyncio


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the storage is."""
    return tmp_path / "storage"


@pytest_asyncio.fixture
async def start(
    make_server: Callable[..., Server], folder: Path
) -> AsyncIterator[Callable[..., Server]]:
    """Start a server on the storage; the one before ends first."""
    opened: list[Storage] = []

    def start(*queues: QueueConfig, **options: Any) -> Server:
        for storage in opened:
            storage._file.close()  # no flush: as if it had been killed
        opened[:] = [Storage(folder, PROJECT)]
        return make_server(*queues, storage=opened[0], **options)

    yield start
    for storage in opened:
        storage._file.close()


async def names_of(api: AppRequest, queue: str = "default") -> list[str]:
    """Return the names of the tasks that wait in a queue."""
    return [task.task_name.decode() for task in await api.tasks(queue)]


async def add_result(api: AppRequest, name: str, queue: str = "default") -> int:
    """Add a named task; return the result code."""
    return (await api.bulk_add([add_request(name, queue=queue)]))[0]


# --- what comes back -----------------------------------------------------------------


@START
async def test_entities_come_back(start: Callable[..., Server]) -> None:
    """Entities are as they were last put; what was deleted stays so."""
    api = start().request()
    await api.put(KEY, 1)
    await api.put(KEY, 2)
    await api.put(OTHER, 3)
    await api.delete(OTHER)
    await api.put(reference("Counter", "x", namespace="apart"), 4)

    api = start().request()
    assert await api.get(KEY) == 2
    assert await api.get(OTHER) is None
    assert await api.get(reference("Counter", "x", namespace="apart")) == 4


@START
@pytest.mark.parametrize("explicit_first", [False, True])
async def test_a_key_that_is_spelled_in_two_ways(
    start: Callable[..., Server], explicit_first: bool
) -> None:
    """A key that states its namespace to be empty is the same key as without."""
    api = start().request()
    spellings = []
    for name in ("deleted", "changed"):
        plain, explicit = reference("Counter", name), reference("Counter", name)
        explicit.name_space = ""
        assert plain.SerializeToString() != explicit.SerializeToString()
        spellings.append((explicit, plain) if explicit_first else (plain, explicit))
    (deleted, deleted_again), (changed, changed_again) = spellings
    await api.put(deleted, 1)
    await api.delete(deleted_again)
    await api.put(changed, 1)
    await api.put(changed_again, 2)

    api = start().request()
    for spelling in (deleted, deleted_again):
        assert await api.get(spelling) is None
    for spelling in (changed, changed_again):
        assert await api.get(spelling) == 2


@START
async def test_a_named_database_comes_back(start: Callable[..., Server]) -> None:
    """What Cloud NDB has put into another database than the default is there again."""

    async def ask(rpc: str, **fields: Any) -> Any:
        """Make a call on a server that has just been started."""
        services = start().services
        served = DatastoreV1(
            *(services.datastore, services.app_id),
            storage=services._storage,
            before_answer=lambda rpc: services.flush(),
        )
        request_class = getattr(datastore_v1, f"{rpc}Request")
        request = request_class(project_id=PROJECT, **fields)
        try:
            async with grpc.aio.insecure_channel(
                f"127.0.0.1:{await served.start()}"
            ) as channel:
                call: Any = channel.unary_unary(f"/google.datastore.v1.Datastore/{rpc}")
                answer = await call(request_class.serialize(request), timeout=20)
        finally:
            await served.stop()
        return getattr(datastore_v1, f"{rpc}Response").deserialize(answer)

    named = key("Counter", "x", database="other")
    put = {"upsert": entity(named, count=7)}
    await ask("Commit", database_id="other", mode=2, mutations=[put])

    (found,) = (await ask("Lookup", database_id="other", keys=[named])).found
    assert found.entity.properties["count"].integer_value == 7
    assert not (await ask("Lookup", keys=[key("Counter", "x")])).found


@START
async def test_a_restart_does_not_stop_transactions(
    start: Callable[..., Server],
) -> None:
    """Entities out of the storage take part in transactions like any other."""
    api = start().request()
    await api.increment(KEY, 10)

    server = start()
    await asyncio.gather(*(server.request().increment(KEY, 10) for _ in range(5)))
    assert await server.request().get(KEY) == 60


@START
async def test_what_was_not_committed_is_gone(start: Callable[..., Server]) -> None:
    """A transaction that was open when the server ended has done nothing."""
    api = start().request()
    transaction = await api.begin()
    await api.put(KEY, 1, transaction)
    await api.bulk_add([add_request(transaction=transaction)])

    api = start().request()
    assert await api.get(KEY) is None
    assert await api.tasks() == []


@START
async def test_ids_are_never_handed_out_again(start: Callable[..., Server]) -> None:
    """Not after a restart, not after a reset: also not those of deleted entities."""
    seen = set()
    for _ in range(3):
        server = start()
        api = server.request()
        for _ in range(5):
            key = await api.put(reference("Counter", None), 1)
            seen.add(key.path.element[0].id)
            await api.delete(key)
            answer = await api.call("datastore_v3", "AllocateIds", allocation(size=2))
            seen |= {("sequential", answer.start), ("sequential", answer.end)}
        server.services.clear()
        server.services.flush()
    assert len(seen) == 3 * 5 * 3


@START
async def test_ids_that_are_too_large(start: Callable[..., Server]) -> None:
    """No id that an app asks for leads to a counter that cannot be stored."""
    too_many = [{"max": 2**63 - 1}, {"max": 2**52}, {"size": 2**62}]
    api = start().request()
    for fields in too_many:
        with pytest.raises(apiproxy_errors.ApplicationError) as error:
            await api.call("datastore_v3", "AllocateIds", allocation(**fields))
        assert error.value.application_error == BAD_REQUEST
    for number in (2**63 - 1, 2**52 - 1, 2**52 + 1, -1):
        reserve = datastore_pb.AllocateIdsRequest(reserve=[reference("A", number)])
        await api.call("datastore_v3", "AllocateIds", reserve)
        await api.put(reference("A", number), 1)

    api = start().request()
    answer = await api.call("datastore_v3", "AllocateIds", allocation(max=10**12))
    assert (answer.start, answer.end) == (1, 10**12)
    assert (await api.put(reference("A", None), 1)).path.element[0].id > 0


def allocation(**fields: int) -> datastore_pb.AllocateIdsRequest:
    """Return a request for ids in a row."""
    request = datastore_pb.AllocateIdsRequest(**fields)
    request.model_key.CopyFrom(reference("Counter", None))
    return request


@START
async def test_tasks_come_back(start: Callable[..., Server]) -> None:
    """A task that waits keeps its name, payload, ETA, headers and attempts."""
    api = start().request()
    name = await api.add("named", due_in=60, body=b"payload", headers=[("A", "b")])
    chosen = await api.add(due_in=120)
    before = await api.tasks()

    api = start().request()
    assert sorted(await names_of(api)) == sorted([name, chosen])
    assert await api.tasks() == before
    assert await add_result(api, "named") == TASK_ERRORS.TASK_ALREADY_EXISTS


@START
async def test_tombstones_come_back(start: Callable[..., Server]) -> None:
    """The name of a task that was deleted or purged stays taken."""
    server = start()
    api = server.request()
    await api.add("deleted")
    await api.add("purged")
    request = pb.TaskQueueDeleteRequest(queue_name=b"default", task_name=[b"deleted"])
    await api.call("taskqueue", "Delete", request)
    purge = pb.TaskQueuePurgeQueueRequest(queue_name=b"default")
    await api.call("taskqueue", "PurgeQueue", purge)

    api = start().request()
    assert await api.tasks() == []
    for name in ("deleted", "purged"):
        assert await add_result(api, name) == TASK_ERRORS.TOMBSTONED_TASK


@START
async def test_tombstones_end(start: Callable[..., Server], folder: Path) -> None:
    """After about nine days the name is free again, and its row gone."""
    api = start().request()
    await api.add("old")
    purge = pb.TaskQueuePurgeQueueRequest(queue_name=b"default")
    await api.call("taskqueue", "PurgeQueue", purge)
    await api.add("waits")
    start().services._storage._db.execute(  # type: ignore[union-attr]
        "UPDATE tasks SET changed = changed - ?", (TOMBSTONE_SECONDS + 1,)
    )

    api = start().request()
    assert await names_of(api) == ["waits"]
    assert await add_result(api, "old") == TASK_ERRORS.OK


@START
async def test_chosen_names_do_not_repeat(start: Callable[..., Server]) -> None:
    """The server draws names: they never begin anew with a start."""
    names = []
    for _ in range(3):
        api = start().request()
        names += [await api.add() for _ in range(10)]
    assert len(set(names)) == 30
    assert all(len(name) >= 19 for name in names)


@START
async def test_leases_come_back(
    start: Callable[..., Server], clock: StoppedClock
) -> None:
    """A task that a worker has leased is not leased again after a restart."""
    queue = QueueConfig("pull", mode="pull")
    lease = pb.TaskQueueQueryAndOwnTasksRequest(
        queue_name=b"pull", max_tasks=10, lease_seconds=60
    )
    api = start(queue).request()
    await api.add("leased", queue="pull", mode=PULL, body=b"a", now=0.0)
    clock.offset = 1.0
    leased = await api.call("taskqueue", "QueryAndOwnTasks", lease)
    assert len(leased.task) == 1

    api = start(queue).request()
    again = await api.call("taskqueue", "QueryAndOwnTasks", lease)
    assert len(again.task) == 0
    clock.offset = 62.0
    again = await api.call("taskqueue", "QueryAndOwnTasks", lease)
    assert [task.retry_count for task in again.task] == [2]


@START
async def test_attempts_come_back(
    start: Callable[..., Server], clock: StoppedClock, app: App
) -> None:
    """A task that has failed goes on counting its attempts, and done is done."""
    server = start()
    api = server.request()
    await api.add("fails", now=clock.start)
    await api.add("succeeds", now=clock.start)
    app.answer = lambda execution: 500 if execution.name == "fails" else 200
    runner = TaskRunner(server.services.taskqueue, clock, app.dispatch, app.ready)
    runner.start()
    await until(lambda: runner.finished == 2)
    await runner.stop()

    server = start()
    (task,) = await server.request().tasks()
    assert (task.task_name, task.retry_count) == (b"fails", 1)
    runner = TaskRunner(server.services.taskqueue, clock, app.dispatch, app.ready)
    runner.start()
    app.executions.clear()
    await runner.advance(10)
    await runner.stop()
    assert app.executions[0].headers["x-appengine-taskretrycount"] == "1"
    assert set(app.names) == {"fails"}


@START
async def test_the_clock_comes_back(
    start: Callable[..., Server], clock: StoppedClock
) -> None:
    """Tasks were due by a clock that was advanced, so it stays advanced."""
    server = start()
    clock.offset = 3600.0
    await server.request().add("any")
    clock.offset = 0.0

    start()
    assert clock.offset == 3600.0


@START
async def test_a_queue_that_is_gone_keeps_its_tasks(
    start: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    """Tasks of a queue that queue.yaml names no more wait until it does again."""
    other = QueueConfig("other")
    await start(other).request().add("waits", queue="other")

    server = start()
    assert "queue other is gone from queue.yaml; its 1 tasks wait" in caplog.text
    assert "other" not in server.services.taskqueue.queues()

    assert await names_of(start(other).request(), "other") == ["waits"]


@START
async def test_a_reset_lasts(start: Callable[..., Server]) -> None:
    """What a reset has dropped does not come back with the next start."""
    server = start()
    api = server.request()
    await api.put(KEY, 1)
    await api.add("named")
    server.services.clear()
    server.services.flush()

    api = start().request()
    assert await api.get(KEY) is None
    assert await add_result(api, "named") == TASK_ERRORS.OK


@START
async def test_a_full_disk(start: Callable[..., Server]) -> None:
    """A call that could not be stored fails; when there is room again, all is."""
    server = start()
    api, storage = server.request(), server.services._storage
    assert storage is not None
    await api.add("small")
    ((pages,),) = storage._db.execute("PRAGMA page_count")
    storage._db.execute(f"PRAGMA max_page_count={pages + 2}")
    full = re.escape(f"{storage.path} cannot be written: database or disk is full.")
    with pytest.raises(StorageError, match=full):
        await api.add("big", body=b"x" * 100_000)
    # also what would change nothing: it could tell what is not stored
    with pytest.raises(StorageError, match=full):
        await api.tasks()
    storage._db.execute("PRAGMA max_page_count=1000000")
    assert await names_of(api) == ["big", "small"]

    assert await names_of(start().request()) == ["big", "small"]


@START
async def test_a_reset_on_a_full_disk(start: Callable[..., Server]) -> None:
    """A reset that could not be stored is stored when there is room again."""
    server = start()
    api, storage = server.request(), server.services._storage
    assert storage is not None
    await api.put(KEY, 1)
    storage._db.execute("PRAGMA query_only=ON")
    server.services.clear()
    with pytest.raises(StorageError):
        server.services.flush()
    storage._db.execute("PRAGMA query_only=OFF")
    await api.put(OTHER, 2)

    api = start().request()
    assert await api.get(KEY) is None
    assert await api.get(OTHER) == 2


@START
async def test_a_full_disk_does_not_stop_the_runner(
    start: Callable[..., Server],
    clock: StoppedClock,
    app: App,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Tasks go on while their end cannot be stored; it is stored later."""
    server = start()
    api, storage = server.request(), server.services._storage
    assert storage is not None
    runner = TaskRunner(server.services.taskqueue, clock, app.dispatch, app.ready)
    runner.start()
    await api.add("one", due_in=10, now=clock.start)
    await api.add("two", due_in=20, now=clock.start)
    storage._db.execute("PRAGMA query_only=ON")
    async with asyncio.timeout(10):
        await runner.advance(30)
    assert app.names == ["one", "two"]
    assert "task one: its end was not stored: " in caplog.text
    assert "Traceback" not in caplog.text
    storage._db.execute("PRAGMA query_only=OFF")
    server.services.flush()
    await runner.stop()

    assert await start().request().tasks() == []


# --- killed at any point -------------------------------------------------------------

# Commits a transaction of two entity groups, a deletion and two tasks, and kills itself
# at one point of that. Prints "answered" if the answer gets as far as to the app.
VICTIM = """\
import asyncio, functools, os, signal, sys
from pathlib import Path
from gae_devserver.datastore import stub as datastore
from gae_devserver.tasks import stub as taskqueue
from gae_devserver.storage.storage import Storage
from tests.devserver.calls import PROJECT, Server, add_request, reference

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
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=30,
    )
    assert victim.returncode == -signal.SIGKILL, f"{point} {count} was never reached"
    return victim.stdout


@START
async def test_all_of_a_transaction_or_nothing(
    make_server: Callable[..., Server], tmp_path: Path
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
        api = make_server(storage=Storage(folder, PROJECT)).request()
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
from tests.devserver.calls import PROJECT, Server, reference

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


@START
@pytest.mark.parametrize("seed", range(3))
async def test_what_was_acknowledged_survives(
    start: Callable[..., Server], folder: Path, seed: int
) -> None:
    """Killed at a moment of nobody's choice, the server has all that it confirmed."""
    lines = random.Random(seed).randrange(1, 1500)
    busy = subprocess.Popen(  # noqa: ASYNC220 - the loop has nothing else to do
        [sys.executable, "-c", BUSY, str(folder)],
        cwd=REPOSITORY,
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

    api = start().request()
    stored = set(await names_of(api))
    for line in said:
        what, number = line.split()
        if what == "task":
            assert f"task-{number}" in stored
        else:
            assert await api.get(reference("Counter", f"n{number}")) == int(number)


# --- files that cannot be used -------------------------------------------------------


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
    assert message.endswith(
        f"Nothing in it was changed. To begin anew, move the folder {folder} away or "
        "give another one to --storage."
    )
    assert "\n" not in message
    assert contents(folder) == before


@pytest.mark.parametrize("lost", [Path.unlink, lambda path: os.truncate(path, 0)])
def test_a_wal_without_its_file(folder: Path, lost: Callable[[Path], None]) -> None:
    """What a killed server has left is not deleted because the rest is not there."""
    path = kill_storage(folder)
    lost(path)
    before = contents(folder)

    with pytest.raises(StorageError, match="is missing or empty") as error:
        Storage(folder, PROJECT)
    assert str(path) in str(error.value)
    assert contents(folder) == before


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
        ended = subprocess.run(command, cwd=REPOSITORY, check=False, timeout=30)
        storage = Storage(folder, PROJECT)
        assert list(storage.tasks()) == []
        storage.close()
        if not ended.returncode:
            break
        assert ended.returncode == -signal.SIGKILL
    assert number > 10


def test_two_begin_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two servers that begin on a new folder, the first to come gets it."""
    look = StorageFile._is_empty

    def look_while_another_begins(file: StorageFile) -> bool:
        monkeypatch.setattr(StorageFile, "_is_empty", look)
        with pytest.raises(StorageError, match="in use by another server"):
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
        with pytest.raises(StorageError, match="in use by another server") as error:
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

    with pytest.raises(StorageError, match="database of something else") as error:
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
    assert str(error.value).startswith(f"{folder} is a file, not a folder.")
    assert folder.read_text() == "no folder"


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    """What the system does not take for the name of a folder is named."""
    folder = tmp_path / ("x" * 300)

    with pytest.raises(StorageError, match=r"cannot be opened: .*too long") as error:
        Storage(folder, PROJECT)
    assert str(folder / FILE_NAME) in str(error.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter every folder")
def test_below_a_folder_that_one_may_not_enter(folder: Path) -> None:
    """A folder that cannot be looked for is named."""
    folder.mkdir(mode=0o000)

    with pytest.raises(StorageError, match=r"cannot be opened: .*denied") as error:
        Storage(folder / "below", PROJECT)
    assert str(folder / "below" / FILE_NAME) in str(error.value)


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


LONG = "unit-project"


def run_server(
    app: Path, folder: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    """Run a server that does not start."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "gae_devserver", str(app), "--port", "0"),
            *("--storage", str(folder), *options),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("damage", ["text", "another project"])
def test_the_command_says_what_is_wrong(tmp_path: Path, damage: str) -> None:
    """The server does not start on such a file: one line, exit status 2."""
    folder = tmp_path / "storage"
    path = make_storage(folder)
    if damage == "text":
        DAMAGES[damage](path)
    before = path.read_bytes()
    app = make_app(tmp_path / "app")

    ended = run_server(app, folder)

    assert ended.returncode == 2
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("gae-devserver: error: ")
    assert str(path) in line
    assert path.read_bytes() == before


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
    assert " cannot be read: " in message
    assert "\n" not in message


# Says who it is, so that a test can look whether it is still there.
TELLS_ITS_PROCESS = """\
import os, pathlib
pathlib.Path("pid").write_text(str(os.getpid()))
"""


@START
async def test_the_command_cannot_read_it(
    start: Callable[..., Server], folder: Path, tmp_path: Path
) -> None:
    """The server ends the app again: one line, exit status 2, nothing changed."""
    server = start()
    await fill(server)
    storage = server.services._storage
    assert storage is not None
    storage._db.execute(UNREADABLE["entity"])
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
    assert line.startswith(
        f"gae-devserver: error: {folder / FILE_NAME} is damaged: an entity "
    )
    assert contents(folder) == before
    pid = app / "pid"
    assert not pid.exists() or not running({int(pid.read_text())})


@START
async def test_an_api_error_is_not_stored(start: Callable[..., Server]) -> None:
    """A call that is refused changes nothing, in memory and in the storage."""
    api = start().request()
    with pytest.raises(apiproxy_errors.ApplicationError):
        await api.add("named", queue="unknown")

    assert list(start().services._storage.tasks()) == []  # type: ignore[union-attr]
