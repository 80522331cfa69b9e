"""Programs that use a storage until they are killed, for test_storage_kills.py.

python -m tests.integration.storage_victims commit|open|cloud_tasks FOLDER
"""

import asyncio
import itertools
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from google.appengine.datastore import datastore_pb

from gae_devserver.clock import Clock
from gae_devserver.storage.storage import Storage
from tests.helpers.calls import PROJECT, Server, add_request, reference
from tests.helpers.cloud_tasks import app_task, call, queue_name, rpcs_on


class Death:
    """Kills the process when it gets to a certain point."""

    def __init__(self, point: int | None = None) -> None:
        self.points_left = point

    def pass_point(self, _: object = None) -> None:
        """Count one point."""
        if self.points_left is not None:
            self.points_left -= 1
            if not self.points_left:
                os.kill(os.getpid(), signal.SIGKILL)

    def connect(self, *args: Any, **options: Any) -> sqlite3.Connection:
        """Open a database; the begin of each SQL statement is a point."""
        db = sqlite3.connect(*args, **options)
        db.set_trace_callback(self.pass_point)
        return db


def at_each_point(run: Callable[[Path, int], None], folder: Path) -> None:
    """Run in a new folder and process for each point, until there are no more."""
    for point in itertools.count(1):
        process = os.fork()
        if not process:
            run(folder / str(point), point)
            os._exit(0)
        _, status = os.waitpid(process, 0)
        if os.WIFEXITED(status):
            sys.exit(os.WEXITSTATUS(status))


def begin(folder: Path, point: int) -> None:
    """Make a new storage."""
    Storage(folder, PROJECT, connect=Death(point).connect)


def commit(folder: Path, point: int) -> None:
    """Commit a transaction of two entity groups, a deletion and two tasks.

    The points are the SQL statements of the commit, its answer, and the end after it.
    """

    async def run() -> None:
        death = Death()
        storage = Storage(folder, PROJECT, connect=death.connect)
        api = Server(storage=storage).request()
        old, new, other = (reference("Counter", name) for name in ENTITIES)
        await api.put(old, 1)
        await api.put(new, 1)
        transaction = await api.begin(allow_multiple_eg=True)
        await api.put(new, 2, transaction)
        await api.put(other, 2, transaction)
        delete = datastore_pb.DeleteRequest(key=[old], transaction=transaction)
        await api.call("datastore_v3", "Delete", delete)
        await api.bulk_add([add_request(transaction=transaction) for _ in range(2)])
        death.points_left = point
        await api.commit(transaction)
        death.pass_point()
        (folder / "answered").touch()
        death.pass_point()

    asyncio.run(run())


def cloud_tasks(folder: Path, point: int) -> None:
    """Create two tasks with one RPC, and delete their queue with another one.

    The points are the SQL statements and the answers.
    """

    async def run() -> None:
        death = Death()
        storage = Storage(folder, PROJECT, connect=death.connect)
        services = Server(storage=storage).services
        rpcs = rpcs_on(services, Clock(), no_runner)
        await call(rpcs, "UpdateQueue", queue=CLOUD_QUEUE)
        death.points_left = point
        requests = [{"task": task} for task in CLOUD_TASKS]
        parent = CLOUD_QUEUE["name"]
        await call(rpcs, "BatchCreateTasks", parent=parent, requests=requests)
        (folder / "created").touch()
        death.pass_point()
        await call(rpcs, "DeleteQueue", name=parent)
        (folder / "deleted").touch()
        death.pass_point()

    asyncio.run(run())


async def no_runner(*_: object) -> None:
    """Run no task now."""


CLOUD_QUEUE: dict[str, Any] = {
    "name": queue_name("made"),
    "rate_limits": {"max_dispatches_per_second": 2.5},
    "retry_config": {"max_attempts": 7},
}
CLOUD_TASKS = [
    app_task(
        name,
        CLOUD_QUEUE["name"],
        retry_config={"max_attempts": 3, "min_backoff": {"nanos": 5}},
        dispatch_deadline={"seconds": 20, "nanos": 7},
        app_engine_http_request={
            "http_method": "PUT",
            "relative_uri": "/x?y",
            "headers": {"A": "é"},
            "body": b"\x00",
            "app_engine_routing": {"service": "default"},
        },
    )
    for name in ("a", "b")
]


ENTITIES = ("old", "new", "other")


if __name__ == "__main__":
    where = Path(sys.argv[2])
    match sys.argv[1]:
        case "commit":
            at_each_point(commit, where)
        case "open":
            at_each_point(begin, where)
        case "cloud_tasks":
            at_each_point(cloud_tasks, where)
