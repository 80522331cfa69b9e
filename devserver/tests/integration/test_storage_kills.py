"""A server that was killed at any point has stored all that it acknowledged."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gae_devserver.clock import Clock
from gae_devserver.storage.storage import Storage
from tests.helpers.calls import PROJECT, AppRequest, Server, reference
from tests.helpers.cloud_tasks import FULL, LOCATION, call, rpcs_on
from tests.integration.storage_victims import (
    CLOUD_QUEUE,
    CLOUD_TASKS,
    ENTITIES,
    no_runner,
)

FOLDER = Path(__file__).resolve().parents[2]
"""The folder in which Python finds `tests`."""


@pytest.fixture
def reopen(sdk_state: None) -> Iterator[Callable[[Path], AppRequest]]:
    """Open a storage as the next start of a killed server does."""
    servers: list[Server] = []

    def reopen(folder: Path) -> AppRequest:
        servers.append(Server(storage=Storage(folder, PROJECT)))
        return servers[-1].request()

    yield reopen
    for server in servers:
        server.services.close()


def killed_at_each_point(what: str, folder: Path) -> list[Path]:
    """Kill a victim at one point after another; return the folders that it left."""
    folder.mkdir()
    victim = [sys.executable, "-m", "tests.integration.storage_victims", what]
    subprocess.run([*victim, str(folder)], cwd=FOLDER, check=True, timeout=120)
    *killed, survivor = sorted(folder.iterdir(), key=lambda path: int(path.name))
    assert survivor.exists()
    return killed


@pytest.mark.asyncio
async def test_all_of_a_transaction_or_nothing(
    reopen: Callable[[Path], AppRequest], tmp_path: Path
) -> None:
    """Killed at any point of a commit, the server has all of it or nothing.

    It has all of it from the end of its last SQL statement on, so whenever it has
    answered.
    """
    complete = []
    for folder in killed_at_each_point("commit", tmp_path / "commit"):
        api = reopen(folder)
        counts = [await api.get(reference("Counter", name)) for name in ENTITIES]
        state = [*counts, len(await api.tasks())]
        assert state in ([1, 1, None, 0], [None, 2, 2, 2]), folder
        complete.append(state[-1] == 2)
        assert complete[-1] or not (folder / "answered").exists()
    assert len(complete) > 8
    assert complete == [False] * (len(complete) - 2) + [True] * 2


@pytest.mark.asyncio
async def test_all_of_a_batch_of_cloud_tasks_or_nothing(
    reopen: Callable[[Path], AppRequest], tmp_path: Path
) -> None:
    """Killed at any point, the server has each RPC of Cloud Tasks whole or not at all.

    The queue and the tasks are as they were sent.
    """
    stages = []
    for folder in killed_at_each_point("cloud_tasks", tmp_path / "cloud_tasks"):
        rpcs = rpcs_on(reopen(folder).services, Clock(), no_runner)
        listed = await call(rpcs, "ListQueues", parent=LOCATION)
        names = [queue.name for queue in listed.queues]
        if CLOUD_QUEUE["name"] not in names:
            stages.append("deleted")
            continue
        made = await call(rpcs, "GetQueue", name=CLOUD_QUEUE["name"])
        assert made.retry_config.max_attempts == 7
        tasks = await call(
            rpcs, "ListTasks", parent=CLOUD_QUEUE["name"], response_view=FULL
        )
        for task, sent in zip(tasks.tasks, CLOUD_TASKS, strict=False):
            with_sent = type(task).FromString(task.SerializeToString())
            with_sent.MergeFrom(type(task)(**sent))
            assert with_sent == task
        stages.append({0: "empty", 2: "created"}[len(tasks.tasks)])
        assert stages[-1] == "created" or not (folder / "created").exists()
        assert not (folder / "deleted").exists()
    order = ["empty", "created", "deleted"]
    assert stages == sorted(stages, key=order.index)
    assert set(stages) == set(order)


def test_killed_while_it_is_made(tmp_path: Path) -> None:
    """Killed at any point of its first start, a server leaves what can be opened."""
    folders = killed_at_each_point("open", tmp_path / "open")
    assert len(folders) > 10
    for folder in folders:
        storage = Storage(folder, PROJECT)
        assert list(storage.tasks()) == []
        storage.close()
