"""Measure Cloud NDB on the dev server's datastore and on Google's emulator.

Clients that are threads of one process share its interpreter lock, which limits them on
both servers alike. Clients that are processes use every core, and show the server.
"""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from tests.bench.clients import ndb_client
from tests.bench.rows import CLIENTS, OPERATIONS, Results
from tests.bench.servers import PROJECT

PROCESSES = max(processes for processes, _ in CLIENTS.values())


class Client:
    """A process that uses Cloud NDB as it is told."""

    def __init__(self, host: str) -> None:
        """Start it for the datastore at `host`."""
        self._process = subprocess.Popen(
            [sys.executable, ndb_client.__file__, PROJECT],
            env={**os.environ, "DATASTORE_EMULATOR_HOST": host},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self, *order: object) -> None:
        """Have it begin something."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def result(self) -> float:
        """Return what came out."""
        assert self._process.stdout is not None
        return float(json.loads(self._process.stdout.readline()))

    def stop(self) -> None:
        """Stop it."""
        self._process.communicate()


def measure_cloud_ndb(
    hosts: Mapping[str, str],
    runs: int,
    seconds: float,
    warm_up: float,
    results: Results,
) -> None:
    """Measure datastores that run, and that have answered many calls before."""
    with ExitStack() as at_end:
        clients: dict[str, list[Client]] = {side: [] for side in hosts}
        for side, host in hosts.items():
            for _ in range(PROCESSES):
                clients[side].append(Client(host))
                at_end.callback(clients[side][-1].stop)
            # Java compiles what is called often: the emulator's 5,000th put takes a
            # third of the CPU time of its first ones
            for operation in OPERATIONS:
                rate(clients[side], operation, 1, warm_up)
            rate(clients[side][:1], "fill")
        for run in range(runs):
            for name, (processes, threads) in CLIENTS.items():
                for operation in OPERATIONS:
                    order = (operation, threads, seconds)
                    rates = {
                        side: functools.partial(rate, some[:processes], *order)
                        for side, some in clients.items()
                    }
                    results.measure(f"{operation}, {name}", run, rates)
            queries = {
                side: functools.partial(rate, some[:1], "query")
                for side, some in clients.items()
            }
            results.measure("query, 10 of 10,000", run, queries)


def rate(clients: Sequence[Client], *order: object) -> float:
    """Have all the clients do the same at once; return the sum of their figures."""
    for client in clients:
        client.begin(*order)
    return sum(client.result() for client in clients)
