"""What becomes of tasks when the app, or the server, ends and starts again."""

import os
import pathlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gae_devserver.testing import wait_until
from gae_devserver.testing.processes import descendants
from tests.chaos.server import Run
from tests.helpers.datastore_v1 import RawClient
from tests.servers import staging
from tests.servers.contract_app import CaseError, ContractApp

Start = Callable[..., ContractApp]

PARTITION = {"project_id": "sample-project"}


@pytest.fixture
def start(tmp_path: pathlib.Path) -> Iterator[Start]:
    """Start the contract's app on a server with given options."""
    runs: list[Run] = []
    staged = staging.stage(staging.REPOSITORY / "plain_wsgi_app", tmp_path)
    (tmp_path / "runs.jsonl").touch()

    def start(*options: str) -> ContractApp:
        runs.append(Run(staged, tmp_path, *options, log=f"server-{len(runs)}.log"))
        return ContractApp(runs[-1], tmp_path)

    yield start
    (tmp_path / "release").touch()
    for run in runs:
        run.stop()


def server_of(app: ContractApp) -> Run:
    """Return the server that an app runs on."""
    assert isinstance(app.server, Run)
    return app.server


def kill_app(app: ContractApp) -> None:
    """Kill every process of the app with SIGKILL."""
    for pid in descendants(server_of(app).pid):
        os.kill(pid, signal.SIGKILL)


def attempts(app: ContractApp, label: str) -> list[str]:
    """Return the retry count of each run of a task that has begun."""
    runs = [run for run in app.runs(label) if run.extra.get("at") != "end"]
    return [run.headers["taskretrycount"] for run in runs]


@pytest.fixture
def restart(start: Start, tmp_path: pathlib.Path) -> Callable[[], ContractApp]:
    """Kill the server, if there is one, and start it on what it has stored."""
    apps: list[ContractApp] = []

    def restart() -> ContractApp:
        for app in apps[-1:]:
            server_of(app).kill()
        apps.append(start("--storage", str(tmp_path / "storage")))
        return apps[-1]

    return restart


def ask_datastore(app: ContractApp, rpc: str, **fields: Any) -> Any:
    """Make one call as Cloud NDB does."""
    client = RawClient(server_of(app).datastore_host)
    try:
        return client.call(rpc, **PARTITION, **fields)
    finally:
        client.close()


def allocate(app: ContractApp) -> set[int]:
    """Have Cloud NDB's datastore choose some ids."""
    keys = [{"partition_id": PARTITION, "path": [{"kind": "Kept"}]}] * 5
    answer = ask_datastore(app, "AllocateIds", keys=keys)
    return {key.path[0].id for key in answer.keys}


def test_what_cloud_ndb_was_told_survives(restart: Callable[[], ContractApp]) -> None:
    """After SIGKILL its entities are there, and no id comes a second time."""
    key = {"partition_id": PARTITION, "path": [{"kind": "Kept", "name": "a"}]}
    put = {"upsert": {"key": key, "properties": {"n": {"integer_value": 7}}}}
    ask_datastore(restart(), "Commit", mode=2, mutations=[put])

    app = restart()
    (found,) = ask_datastore(app, "Lookup", keys=[key]).found
    assert found.entity.properties["n"].integer_value == 7
    ids = allocate(app)

    assert len(ids | allocate(restart())) == 10


def test_what_the_state_api_was_told_survives(
    restart: Callable[[], ContractApp],
) -> None:
    """After SIGKILL, what was deleted, purged or reset stays so; the clock is kept."""
    app = restart()
    for name in ("deleted", "purged"):
        app.defer("note", name, _name=name, _countdown=3600)
    server_of(app).state("DELETE", "/queues/default/tasks/deleted")

    app = restart()
    assert [task.name for task in app.server.tasks()] == ["purged"]
    server_of(app).purge("default")

    app = restart()
    assert app.server.tasks() == []
    for name in ("deleted", "purged"):
        with pytest.raises(CaseError, match="TombstonedTaskError"):
            app.defer("note", name, _name=name)
    server_of(app).advance(3600)

    app = restart()
    assert server_of(app).state("GET", "/clock")["offset"] == pytest.approx(3600)
    server_of(app).reset()

    app = restart()
    assert server_of(app).state("GET", "/clock")["offset"] == 0
    app.defer("note", "purged", _name="purged", _countdown=3600)


def test_tasks_wait_while_the_app_restarts(start: Start) -> None:
    """Tasks that are due while there is no app run when it is back, without a retry."""
    app = start()
    server = server_of(app)
    server.pause("default")
    for _ in range(3):
        app.defer("note", "waits")
    kill_app(app)
    app.wait_for_log("Its next start is in 1 s")
    server.resume("default")

    wait_until(lambda: not server.waiting(), "the tasks have run")
    assert attempts(app, "waits") == ["0", "0", "0"]


def test_a_task_whose_connection_breaks_is_retried(start: Start) -> None:
    """The app dies in the middle of a task: that counts as an attempt."""
    app = start()
    app.defer("hold", "broken")
    wait_until(lambda: attempts(app, "broken"), "the task has begun")
    kill_app(app)

    app.wait_for_log(r"task \d+ lost its connection .*; next attempt in 0\.1 s")
    wait_until(lambda: len(attempts(app, "broken")) == 2, "the retry")
    app.release()
    wait_until(lambda: not server_of(app).waiting(), "the task has run")
    assert attempts(app, "broken") == ["0", "1"]


def test_a_task_over_the_deadline_is_retried(start: Start) -> None:
    """A task that takes longer than --task-deadline is cut off and tried again."""
    app = start("--task-deadline", "0.5")
    app.defer("hold", "slow")

    app.wait_for_log(r"task \d+ cut off after 0\.5 s .*; next attempt in 0\.1 s")
    wait_until(lambda: len(attempts(app, "slow")) >= 2, "the retry")
    app.release()
    wait_until(lambda: not server_of(app).waiting(), "the task has run")
    assert attempts(app, "slow")[:2] == ["0", "1"]
