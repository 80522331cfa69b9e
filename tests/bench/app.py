"""Measure an app on the dev servers: requests, tasks, memory, and a suite of tests."""

import functools
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from gae_devserver.testing import wait_until
from gae_devserver.testing.processes import descendants

from tests.bench import memory
from tests.bench.clients import load
from tests.bench.rows import HERE, Results, in_turn
from tests.servers.base import Server
from tests.servers.contract_app import ContractApp
from tests.servers.embedded import Embedded

DRAIN_SECONDS = 300.0
SUITE = 100

Apps = Mapping[str, ContractApp]
"""The side -> the app on its server."""


def measure_app(
    apps: Apps, runs: int, seconds: float, increments: int, results: Results
) -> None:
    """Measure servers that run, all of them: one that is idle takes 1 % of a core."""
    for app in apps.values():
        # a counter that exists, as on every page but the first
        app.call("enqueue_increments", 1, 10)
        drain(app.server)
    for run in range(runs):
        for connections, row in ((1, "1 connection"), (8, "8 connections")):
            gets = {
                side: functools.partial(gets_a_second, app.server, connections, seconds)
                for side, app in apps.items()
            }
            results.measure(f"GET, {row}", run, gets)
        for row, case, times, *arguments in (
            ("no-op tasks, 1,000", "enqueue_no_ops", 1000),
            ("increments of one counter", "enqueue_increments", increments, 10),
        ):
            rates = {
                side: functools.partial(tasks_a_second, app, case, times, *arguments)
                for side, app in apps.items()
            }
            results.measure(row, run, rates)
        for app in apps.values():
            assert app.count() == 10 * increments, "an update was lost"
        executed = executions(apps[HERE].server)
        results.add("deliveries per increment", HERE, executed / increments)
        for side in in_turn(list(apps), run):
            measure_suite(side, apps[side].server, results)
    for side, app in apps.items():
        processes = {app.server.pid} | descendants(app.server.pid)
        results.add("memory, all processes (RSS)", side, memory.rss(processes))
        shared_once = memory.pss(processes)
        if shared_once is not None:
            results.add("memory, shared pages once (PSS)", side, shared_once)
    for _ in range(runs):
        no_ops = tasks_a_second(apps[HERE], "enqueue_no_ops", 10_000)
        results.add("no-op tasks, 10,000", HERE, no_ops)


def drain(server: Server) -> None:
    """Return once the default queue is empty."""
    if isinstance(server, Embedded):
        server.run_due()
    else:
        wait_until(lambda: not server.tasks(), "the queue is empty", DRAIN_SECONDS)


def gets_a_second(server: Server, connections: int, seconds: float) -> float:
    """Load the counter's page from a process of its own."""
    parts = urlsplit(server.url)
    where = [str(parts.hostname), str(parts.port), "/counter/get"]
    answer = subprocess.run(
        [sys.executable, load.__file__, *where, str(connections), str(seconds)],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(answer.stdout)


def executions(server: Server) -> int:
    """Return how many tasks the dev server has executed since its last reset."""
    assert isinstance(server, Embedded)
    queues = server.state("GET", "/queues")["queues"]
    return int(sum(queue["executed_last_hour"] for queue in queues))


def tasks_a_second(app: ContractApp, case: str, times: int, *args: int) -> float:
    """Enqueue in bulk, and wait until all have run."""
    app.reset()
    began = time.perf_counter()
    app.call(case, times, *args)
    drain(app.server)
    return times / (time.perf_counter() - began)


def measure_suite(side: str, server: Server, results: Results) -> None:
    """Run a test 100 times, each time with nothing stored.

    The test is that of the README. A reset of dev_appserver.py drops the tasks and the
    entities through its API port, which is faster than a restart.
    """
    resets = []
    began = time.perf_counter()
    for _ in range(SUITE):
        reset_began = time.perf_counter()
        server.reset()
        resets.append(time.perf_counter() - reset_began)
        assert server.get("/counter/get").text == "0"
        assert server.get("/counter/increment").status == 200
        server.run_due()
        assert server.get("/counter/get").text == "10"
    results.add("a suite of 100 tests", side, time.perf_counter() - began)
    results.add("reset after a test", side, statistics.median(resets) * 1000)
