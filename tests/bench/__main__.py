"""Measure the dev servers side by side.

    python -m tests.bench [--app flask] [--runs 5]

Google's dev_appserver.py is measured in the same run if it is installed. Each figure is
the median of the runs, because a busy machine makes single ones worthless. For the same
reason, do not compare figures of different days. Memory, and the 10,000 tasks, are
measured once, at the end. A start is measured from the command that a user types.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import grpc
from gae_devserver.testing import wait_until
from gae_devserver.testing.processes import descendants
from google.cloud.datastore_v1.types import datastore as datastore_pb
from google.cloud.datastore_v1.types import entity as entity_pb

from tests.bench import load
from tests.servers import staging
from tests.servers.base import Server
from tests.servers.contract_app import ContractApp
from tests.servers.datastore_emulator import START_TIME, DatastoreEmulator
from tests.servers.differences import CLOUD_TASKS, THREADS
from tests.servers.embedded import Embedded
from tools.cloud_sdk import NotInstalledError, find_dev_appserver

PROJECT = "sample-project"
"""The embedded server's default."""
LOAD_SECONDS = 2.0
DEFERRED = 500
"""Calls of deferred.defer in one request."""
DRAIN_SECONDS = 300.0

Figures = dict[str, list[float]]
Start = Callable[[pathlib.Path, pathlib.Path], Server]

ROWS = {
    "start to the first 200": "s",
    "GET /counter/get, 1 connection": "/s",
    "GET /counter/get, 8 connections": "/s",
    "no-op tasks, 1,000": "/s",
    "no-op tasks, 10,000": "/s",
    "increments of one counter": "/s",
    "deliveries per increment": "",
    "deferred.defer, bundled": "/s",
    "deferred.defer, Cloud Tasks": "/s",
    "deferred.defer, ratio of times": "",
    **{
        f"{rpc}, {clients} at once": unit
        for rpc, unit in (("CreateTask", "/s"), ("BatchCreateTasks", "tasks/s"))
        for clients in (1, 8)
    },
    "memory, all processes (RSS)": "MB",
    "memory, shared pages once (PSS)": "MB",
    "start to the first Lookup": "s",
    **{
        f"Cloud NDB {operation}, {clients} at once": "/s"
        for clients in (1, 8)
        for operation in ("put", "get", "transaction")
    },
    "Cloud NDB query, 10 of 10,000": "ms",
}
"""What is measured -> its unit."""


def rivals() -> Iterator[tuple[str, Start]]:
    """Yield the name of each installed server, and how to start it."""
    yield "embedded", Embedded
    from tests.servers.dev_appserver import DevAppserver

    try:
        find_dev_appserver()
    except NotInstalledError as error:
        print(f"not measured: {error}")
    else:
        yield "dev_appserver.py", DevAppserver


def stage(app: str, work: pathlib.Path, *, cloud_tasks: bool = False) -> pathlib.Path:
    """Stage an app with the benchmark's module as its entrypoint.

    With `cloud_tasks`, the SDK sends its tasks to Cloud Tasks.
    """
    copy = staging.stage(app, work)
    shutil.copy(pathlib.Path(__file__).parent / "staged" / "bench_main.py", copy)
    # only the default queue, and that without limits
    (copy / "queue.yaml").unlink()
    staging.change(copy / "app.yaml", "contract_main:", "bench_main:")
    if cloud_tasks:
        text = 'env_variables:\n  APPENGINE_USE_CLOUDTASK_PUSH_QUEUE: "true"\n'
        staging.change(copy / "app.yaml", "env_variables:\n", text)
    return copy


def drain(server: Server) -> None:
    """Return once the default queue is empty."""
    if isinstance(server, Embedded):
        server.run_due()
    else:
        wait_until(lambda: not server.tasks(), "the queue is empty", DRAIN_SECONDS)


def gets_per_second(server: Server, connections: int) -> float:
    """Load the counter's page from a process of its own."""
    parts = urlsplit(server.url)
    where = [str(parts.hostname), str(parts.port), "/counter/get"]
    answer = subprocess.run(
        [sys.executable, load.__file__, *where, str(connections), str(LOAD_SECONDS)],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(answer.stdout)


def executions(server: Embedded) -> int:
    """Return how many tasks the server has executed."""
    queues = server.state("GET", "/queues")["queues"]
    return int(sum(queue["executed_last_hour"] for queue in queues))


def tasks_per_second(app: ContractApp, case: str, times: int, *args: int) -> float:
    """Enqueue in bulk, and wait until all have run."""
    app.reset()
    began = time.perf_counter()
    app.call(case, times, *args)
    drain(app.server)
    return times / (time.perf_counter() - began)


def memory_mb(root: int) -> tuple[float, float | None]:
    """Return RSS and PSS, in MB, of a process and its descendants (PSS: Linux only)."""
    tree = {root} | descendants(root)
    ps = ["ps", "-o", "rss=", "-p", ",".join(map(str, tree))]
    listed = subprocess.run(ps, check=True, capture_output=True, text=True).stdout
    rss_mb = sum(map(int, listed.split())) / 1024
    if platform.system() != "Linux":
        return rss_mb, None
    rollups = (pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in tree)
    pss = sum(int(text.partition("\nPss:")[2].split()[0]) for text in rollups)
    return rss_mb, pss / 1024


def measure(start: Start, app_name: str, runs: int) -> Figures:
    """Start a server once for each run, and measure everything on the last."""
    figures: Figures = defaultdict(list)
    for number in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            work = pathlib.Path(folder)
            staged = stage(app_name, work)
            began = time.perf_counter()
            server = start(staged, work)
            try:
                if isinstance(server, Embedded):
                    # its port is known when the app is ready
                    first_lookup(server.datastore_host)
                    took = time.perf_counter() - began
                    figures["start to the first Lookup"].append(took)
                assert server.get("/counter/get").status == 200
                took = time.perf_counter() - began
                figures["start to the first 200"].append(took)
                if number == runs - 1:
                    app = ContractApp(server, work)
                    measure_running(server, app, figures, runs)
                    measure_deferred(app, app_name, work, figures, runs)
            finally:
                server.stop()
    return figures


def measure_running(
    server: Server, app: ContractApp, figures: Figures, runs: int
) -> None:
    """Measure a server that runs."""
    for _ in range(runs):
        # a counter that exists, as on every page but the first
        app.call("enqueue_increments", 1, 10)
        drain(server)
        for connections, row in ((1, "1 connection"), (8, "8 connections")):
            gets = gets_per_second(server, connections)
            figures[f"GET /counter/get, {row}"].append(gets)
        no_ops = tasks_per_second(app, "enqueue_no_ops", 1000)
        figures["no-op tasks, 1,000"].append(no_ops)
        increments = tasks_per_second(app, "enqueue_increments", 300, 10)
        figures["increments of one counter"].append(increments)
        assert app.count() == 3000, "an update was lost"
        if isinstance(server, Embedded):
            figures["deliveries per increment"].append(executions(server) / 300)
    rss, pss = memory_mb(server.pid)
    figures["memory, all processes (RSS)"].append(rss)
    if pss is not None:
        figures["memory, shared pages once (PSS)"].append(pss)
    if isinstance(server, Embedded):
        no_ops = tasks_per_second(app, "enqueue_no_ops", 10_000)
        figures["no-op tasks, 10,000"].append(no_ops)
        measure_cloud_tasks(server, runs, figures)
        measure_datastore(server.datastore_host, runs, figures)


def measure_cloud_tasks(server: Embedded, runs: int, figures: Figures) -> None:
    """Create tasks through Cloud Tasks, with each client in a process of its own."""
    for _ in range(runs):
        for rpc in ("CreateTask", "BatchCreateTasks"):
            for clients in (1, 8):
                server.reset()
                created = creations_per_second(server.cloud_tasks_host, rpc, clients)
                figures[f"{rpc}, {clients} at once"].append(created)


def creations_per_second(host: str, rpc: str, clients: int) -> float:
    """Return how many tasks a second some clients create together."""
    script = pathlib.Path(__file__).with_name("tasks_client.py")
    queue = f"projects/{PROJECT}/locations/us-central1/queues/default"
    command = [sys.executable, str(script), host, queue, rpc, str(LOAD_SECONDS)]
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
    results = [json.loads(process.communicate()[0]) for process in processes]
    return float(sum(done for done, _ in results) / max(took for _, took in results))


def measure_deferred(
    app: ContractApp, app_name: str, work: pathlib.Path, figures: Figures, runs: int
) -> None:
    """Defer calls one by one, in turn in `app` and in one that uses Cloud Tasks."""
    apps = {"deferred.defer, bundled": app}
    with contextlib.ExitStack() as servers:
        if isinstance(app.server, Embedded) and not CLOUD_TASKS[THREADS].holds:
            folder = work / "cloud_tasks"
            folder.mkdir()
            server = Embedded(stage(app_name, folder, cloud_tasks=True), folder)
            servers.callback(server.stop)
            apps["deferred.defer, Cloud Tasks"] = ContractApp(server, folder)
        for _ in range(runs):
            took = []
            for row, one in apps.items():
                one.reset()
                took.append(one.call("defer_no_ops", DEFERRED))
                figures[row].append(DEFERRED / took[-1])
            if len(took) > 1:
                figures["deferred.defer, ratio of times"].append(took[1] / took[0])


def first_lookup(host: str) -> None:
    """Return once a datastore has answered a Lookup over gRPC."""
    key = entity_pb.Key(path=[{"kind": "Bench", "name": "x"}])
    request = datastore_pb.LookupRequest(project_id=PROJECT, keys=[key])
    data = datastore_pb.LookupRequest.serialize(request)

    def answers() -> bool:
        # with a shared subchannel, gRPC would wait a second after a failure
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(host, options) as channel:
            lookup: Any = channel.unary_unary("/google.datastore.v1.Datastore/Lookup")
            try:
                lookup(data, timeout=1)
            except grpc.RpcError:
                return False
        return True

    wait_until(answers, "the datastore answers a Lookup", START_TIME)


def measure_datastore(host: str, runs: int, figures: Figures) -> None:
    """Use Cloud NDB on a datastore, in a process of its own."""
    script = pathlib.Path(__file__).with_name("ndb_client.py")
    for _ in range(runs):
        answer = subprocess.run(
            [sys.executable, str(script), PROJECT, str(LOAD_SECONDS)],
            env={**os.environ, "DATASTORE_EMULATOR_HOST": host},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        for row, figure in json.loads(answer.stdout).items():
            figures[row].append(figure)


def measure_emulator(runs: int) -> Figures:
    """Measure Google's Datastore emulator."""
    figures: Figures = defaultdict(list)
    for number in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            emulator = DatastoreEmulator(pathlib.Path(folder))
            try:
                first_lookup(emulator.host)
                took = time.perf_counter() - began
                figures["start to the first Lookup"].append(took)
                if number == runs - 1:
                    measure_datastore(emulator.host, runs, figures)
            finally:
                emulator.stop()
    return figures


def show(results: dict[str, Figures]) -> None:
    """Print a table: a row for each figure, a column for each server."""
    print(f"\n{'median':34}" + "".join(f"{name:>20}" for name in results))
    for row, unit in ROWS.items():
        cells = []
        for figures in results.values():
            values = figures.get(row)
            if not values:
                cells.append("-")
                continue
            middle = statistics.median(values)
            digits = 2 if middle < 10 else 0
            cells.append(f"{middle:,.{digits}f} {unit}".strip())
        print(f"{row:34}" + "".join(f"{cell:>20}" for cell in cells))


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("--app", choices=staging.APPS, default="flask")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--server", help="measure only the server of this name")
    options = parser.parse_args()
    results = {}
    for name, start in rivals():
        if options.server in (None, name):
            results[name] = measure(start, options.app, options.runs)
    if options.server in (None, "emulator"):
        try:
            results["Datastore emulator"] = measure_emulator(options.runs)
        except (NotInstalledError, RuntimeError) as error:
            print(f"not measured: {error}")
    show(results)


if __name__ == "__main__":
    main()
