"""Tasks and entities when the app or the server is killed and starts again."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from gae_devserver.testing import DevServer, wait_until
from gae_devserver.testing.processes import descendants
from tests.helpers.app_folder import copy_app
from tests.helpers.command import OWN_PYTHON
from tests.helpers.datastore_v1 import RawClient

NAMED = {"project_id": "sample-project", "database_id": "other"}


class DeferringApp(DevServer):
    """The app of tests/apps/deferring on a server."""

    def __init__(self, app: Path, *options: str, log_file: Path) -> None:
        self.folder = app
        super().__init__(app, OWN_PYTHON, *options, log_file=log_file)

    def defer(self, function: str, label: str, **options: object) -> int:
        """Defer a function; return the status of the answer."""
        query = urlencode({"function": function, "label": label, **options})
        return self.post(f"/defer?{query}").status

    def attempts(self, label: str) -> list[str]:
        """Return the retry count of each run of a task that has begun."""
        path = self.folder / "runs.jsonl"
        # the last line may still be incomplete
        *lines, _ = path.read_bytes().split(b"\n") if path.exists() else [b""]
        runs = [json.loads(line) for line in lines]
        return [retries for noted, retries in runs if noted == label]

    def release(self) -> None:
        """Let the tasks that hold return."""
        (self.folder / "release").touch()

    def kill_app(self) -> None:
        """Kill every process of the app with SIGKILL."""
        for pid in descendants(self.pid):
            os.kill(pid, signal.SIGKILL)

    def offset(self) -> float:
        """Return by how many seconds the clock was advanced."""
        return float(self.state("GET", "/clock")["offset"])


Start = Callable[..., DeferringApp]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the app on a server with given options."""
    servers: list[DeferringApp] = []
    app = copy_app("deferring", tmp_path)

    def start(*options: str) -> DeferringApp:
        log_file = tmp_path / f"server-{len(servers)}.log"
        servers.append(DeferringApp(app, *options, log_file=log_file))
        return servers[-1]

    yield start
    (app / "release").touch()
    for server in servers:
        server.stop()


@pytest.fixture
def restart(start: Start, tmp_path: Path) -> Callable[[], DeferringApp]:
    """Kill the server, if one runs, and start it on what it has stored."""
    apps: list[DeferringApp] = []

    def restart() -> DeferringApp:
        for app in apps[-1:]:
            app.kill()
        apps.append(start("--storage", str(tmp_path / "storage")))
        return apps[-1]

    return restart


def ask_datastore(app: DeferringApp, rpc: str, **fields: Any) -> Any:
    """Make one call as Cloud NDB does."""
    with closing(RawClient(app.datastore_host)) as client:
        return client.call(rpc, **NAMED, **fields)


def test_entities_of_cloud_ndb_survive(restart: Callable[[], DeferringApp]) -> None:
    """After SIGKILL a named database is there, and no id is allocated twice."""
    key = {"partition_id": NAMED, "path": [{"kind": "Kept", "name": "a"}]}
    put = {"upsert": {"key": key, "properties": {"n": {"integer_value": 7}}}}
    ask_datastore(restart(), "Commit", mode=2, mutations=[put])

    app = restart()
    (found,) = ask_datastore(app, "Lookup", keys=[key]).found
    assert found.entity.properties["n"].integer_value == 7
    keys = [{"partition_id": NAMED, "path": [{"kind": "Kept"}]}] * 5
    allocated = [
        *ask_datastore(app, "AllocateIds", keys=keys).keys,
        *ask_datastore(restart(), "AllocateIds", keys=keys).keys,
    ]

    assert len({key.path[0].id for key in allocated}) == 10


def test_changes_by_the_state_api_survive(restart: Callable[[], DeferringApp]) -> None:
    """After SIGKILL, deleted, purged and reset tasks stay gone; the clock is kept."""
    app = restart()
    for name in ("deleted", "purged"):
        assert app.defer("note", name, _name=name, _countdown=3600) == 200
    app.state("DELETE", "/queues/default/tasks/deleted")

    app = restart()
    assert [task.name for task in app.tasks()] == ["purged"]
    app.purge()

    app = restart()
    assert app.tasks() == []
    for name in ("deleted", "purged"):
        assert app.defer("note", name, _name=name) == 409
    app.advance(3600)
    offset = app.offset()
    assert offset > 0

    app = restart()
    # whole microseconds are stored
    assert app.offset() == pytest.approx(offset, abs=1e-5)
    app.reset()

    app = restart()
    assert app.offset() == 0
    assert app.defer("note", "purged", _name="purged", _countdown=3600) == 200


def test_tasks_wait_while_the_app_restarts(start: Start) -> None:
    """Tasks that become due meanwhile run when the app is back, without a retry."""
    app = start()
    app.pause()
    for _ in range(3):
        app.defer("note", "waits")
    app.kill_app()
    app.wait_for_log(r"error: .* in 1 s\.")
    app.resume()

    wait_until(lambda: not app.tasks(), "the tasks have run")
    assert app.attempts("waits") == ["0", "0", "0"]


@pytest.mark.parametrize(
    ("options", "cause"),
    [((), r"\d+ ms"), (("--task-deadline", "0.5"), r"0\.5 s .*")],
    ids=["killed", "deadline"],
)
def test_a_task_that_is_cut_off_is_retried(
    start: Start, options: tuple[str, ...], cause: str
) -> None:
    """If the app dies or takes too long while a task runs, that is a failed attempt."""
    app = start(*options)
    app.defer("hold", "cut")
    wait_until(lambda: app.attempts("cut"), "the task has begun")
    if not options:
        app.kill_app()

    app.wait_for_log(rf"task \S+ .* {cause}; attempt 1, next in 0\.1 s")
    wait_until(lambda: len(app.attempts("cut")) >= 2, "the retry")
    app.release()
    wait_until(lambda: not app.tasks(), "the task has run")
    # A retry that reaches the dying app counts as another attempt.
    assert app.attempts("cut")[:2] == ["0", "1"]
