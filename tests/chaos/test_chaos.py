"""Count exactly, while workers and the server are killed and answers get lost.

The short form runs with the other tests; `nox -s chaos` is the long one.
"""

import itertools
import pathlib
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from gae_devserver.testing import wait_until

from tests.chaos.conftest import SHORT
from tests.chaos.server import ChaosServer, stage
from tests.routes import HANDLERS
from tests.servers.differences import NEEDS_CALLS
from tests.servers.staging import APPS
from tools.copy_app import LIBRARIES

AT_ONCE = 8
"""Requests that the driver has open at a time."""

CASES = [
    *itertools.product(APPS, LIBRARIES, ["bundled"]),
    *(pytest.param(app, "bundled", "cloud", marks=NEEDS_CALLS) for app in APPS),
]
"""The app, its NDB library, and the service that holds its tasks."""


def skip_in_short_form(calls: int, case: str, *chosen: str) -> None:
    """Leave all cases but `chosen`, each an "app library tasks", to the long form."""
    if calls <= SHORT and case not in chosen:
        pytest.skip("nox -s chaos runs it with every app, library and service")


def drive(
    server: ChaosServer, calls: int, seed: int, call: Callable[[int], object]
) -> None:
    """Make many calls, several at once, and kill the server repeatedly meanwhile."""
    done: list[int] = []
    draw = random.Random(seed)
    # when to kill the server, as the part of the work that is done by then
    kills = sorted(draw.uniform(0.05, 0.95) for _ in range(max(2, calls // 200)))

    def note(number: int) -> None:
        call(number)
        done.append(number)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = [pool.submit(note, number) for number in range(calls)]
        for part in kills:
            wait_until(lambda: len(done) >= part * calls, "calls", 600)  # noqa: B023
            server.kill()
        for result in results:
            result.result()
    # once more, while tasks run or wait for a retry
    server.kill()
    server.drain()


def add_all(server: ChaosServer, calls: int, seed: int) -> None:
    """Defer tasks with distinct names, each until acknowledged, half to each URL."""

    def add(number: int) -> None:
        url = HANDLERS[number % len(HANDLERS)]
        server.insist("POST", f"/chaos/add?name=call-{number}&url={url}")

    drive(server, calls, seed, add)


@pytest.mark.parametrize(("app", "library", "tasks"), CASES)
def test_each_call_counts_once(
    app: str,
    library: str,
    tasks: str,
    calls: int,
    seed: int,
    tmp_path: pathlib.Path,
) -> None:
    """Each acknowledged task counts once, whatever fails meanwhile."""
    chosen = ("flask bundled bundled", "flask cloud bundled", "flask bundled cloud")
    case = f"{app} {library} {tasks}"
    skip_in_short_form(calls, case, *chosen)
    staged = stage(app, tmp_path, library, tasks)
    with closing(ChaosServer(staged, tmp_path, seed)) as server:
        add_all(server, calls, seed)

        print(f"{case}: {calls} calls, faults {server.faults()}")
        assert server.count() == 10 * calls
        assert server.waiting() == 0
        # without faults, the run would prove nothing
        expected = {"twice", "lost", "error", "server"}
        if calls > SHORT:
            # rare: in one short run of a hundred there is no kill
            expected |= {"kill", "rpc", "slow"}
        assert expected <= server.faults().keys()


@pytest.mark.parametrize(("app", "library", "tasks"), CASES)
def test_each_acknowledged_task_counts(
    app: str,
    library: str,
    tasks: str,
    calls: int,
    seed: int,
    tmp_path: pathlib.Path,
) -> None:
    """Each task that /counter/increment added counts, also if the request then failed.

    A request that fails may have added none, some or all of its three tasks. The
    storage has the names of all that were added: those acknowledged to the app, and
    those whose acknowledgment was lost.
    """
    case = f"{app} {library} {tasks}"
    skip_in_short_form(calls, case, "django cloud bundled")
    staged = stage(app, tmp_path, library, tasks)
    with closing(ChaosServer(staged, tmp_path, seed)) as server:
        requests = calls // 4
        answers: list[int] = []

        def increment(_: int) -> None:
            # a server that is just starting would add nothing
            server.insist("GET", "/counter/get")
            answers.append(server.ask("GET", "/counter/increment"))

        drive(server, requests, seed, increment)

        count, waiting, faults = server.count(), server.waiting(), server.faults()
    names, complete = server.tasks_ever(), 3 * answers.count(200)
    print(f"{case}: {requests} requests, {len(names)} tasks, faults {faults}")
    assert count == 10 * len(names)
    assert waiting == 0
    acknowledged = server.acknowledged()
    assert set(acknowledged) <= names
    assert 0 < complete <= len(acknowledged) <= len(names) <= 3 * requests


@NEEDS_CALLS
@pytest.mark.parametrize("app", APPS)
def test_each_commit_counts_once(
    app: str, calls: int, seed: int, tmp_path: pathlib.Path
) -> None:
    """A task of a transaction on Cloud Tasks counts once, whenever the process ends."""
    skip_in_short_form(calls, app)
    commits = calls // 4
    staged = stage(app, tmp_path, tasks="cloud")
    with closing(ChaosServer(staged, tmp_path, seed)) as server:

        def commit(number: int) -> None:
            url = HANDLERS[number % len(HANDLERS)]
            server.insist("POST", f"/chaos/commit?name=commit-{number}&url={url}")

        drive(server, commits, seed, commit)
        before = server.count()
        server.sweep()
        server.drain()

        print(f"{app}: {commits} commits, {before // 10} without the sweep")
        assert server.count() == 10 * commits
        # else the sweep would have had nothing to do
        assert before < 10 * commits


PAGE = """\
def do_something_later(key, amount):
    entity = Counter.get_or_insert(key, count=0)
    entity.count += amount
    entity.put()
"""


def test_the_pages_own_function_fails(seed: int, tmp_path: pathlib.Path) -> None:
    """The function on Google's page, without a transaction, miscounts in such a run."""
    copy = stage("plain_wsgi", tmp_path)
    with (copy / "shared" / "counter.py").open("a") as file:
        file.write(PAGE)  # replaces the function of the same name above
    with closing(ChaosServer(copy, tmp_path, seed)) as server:
        add_all(server, SHORT, seed)

        print(f"page's function: {server.count()} of {10 * SHORT}")
        assert server.waiting() == 0
        assert server.count() != 10 * SHORT
