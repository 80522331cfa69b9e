"""Measure how fast tasks are added, through the bundled API and Cloud Tasks."""

import contextlib
import functools
import json
import pathlib
import subprocess
import sys
import tempfile

from tests.bench.clients import tasks_client
from tests.bench.rows import BUNDLED, CLOUD_TASKS, TASKS_CLIENTS, Results
from tests.bench.servers import PROJECT, stage
from tests.servers.contract_app import ContractApp
from tests.servers.differences import CLOUD_TASKS as CHANGES
from tests.servers.differences import THREADS
from tests.servers.embedded import Embedded


def measure_deferred(
    app: ContractApp, name: str, runs: int, calls: int, results: Results
) -> None:
    """Defer calls one by one, in `app` and in one that uses Cloud Tasks."""
    apps = {BUNDLED: app}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as servers:
        if not CHANGES[THREADS].holds:
            work = pathlib.Path(folder)
            server = Embedded(stage(name, work, cloud_tasks=True), work)
            servers.callback(server.stop)
            apps[CLOUD_TASKS] = ContractApp(server, work)
        rates = {x: functools.partial(defers_a_second, apps[x], calls) for x in apps}
        for run in range(runs):
            results.measure("deferred.defer, one by one", run, rates)


def defers_a_second(app: ContractApp, calls: int) -> float:
    """Defer some calls in one request."""
    app.reset()
    return calls / float(app.call("defer_no_ops", calls))


def measure_rpcs(server: Embedded, runs: int, seconds: float, results: Results) -> None:
    """Create tasks through Cloud Tasks, with each client in a process of its own."""
    for _ in range(runs):
        for rpc in ("CreateTask", "BatchCreateTasks"):
            for name, clients in TASKS_CLIENTS.items():
                server.reset()
                created = created_a_second(
                    server.cloud_tasks_host, rpc, clients, seconds
                )
                results.add(f"{rpc}, {name}", CLOUD_TASKS, created)


def created_a_second(host: str, rpc: str, clients: int, seconds: float) -> float:
    """Return how many tasks a second some clients create together."""
    queue = f"projects/{PROJECT}/locations/us-central1/queues/default"
    command = [sys.executable, tasks_client.__file__, host, queue, rpc, str(seconds)]
    processes = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(clients)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    created = [json.loads(process.communicate()[0]) for process in processes]
    return float(sum(done for done, _ in created) / max(took for _, took in created))
