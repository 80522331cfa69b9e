"""What becomes of tasks when the app, or the server, ends and starts again."""

import os
import pathlib
import signal
from collections.abc import Callable, Iterator

import pytest

from tests.chaos.server import Run
from tests.devserver.processes import descendants
from tests.servers import staging
from tests.servers.contract_app import ContractApp
from tests.servers.waiting import wait_until

Start = Callable[..., ContractApp]


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


def test_tasks_wait_while_the_app_restarts(start: Start) -> None:
    """Tasks that are due while there is no app run when it is back, without a retry."""
    app = start()
    server = server_of(app)
    server.pause("default")
    for _ in range(3):
        app.defer("note", "waits")
    kill_app(app)
    app.wait_for_log("next start in 1 s")
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
