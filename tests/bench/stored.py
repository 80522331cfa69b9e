"""Measure the dev server with little and with much stored in a file."""

import functools
import json
import pathlib
import subprocess
import sys
import tempfile

from tests.bench.rows import HERE, LITTLE, MUCH, Results
from tests.bench.servers import stage
from tests.bench.starts import seconds_to_200
from tests.servers.contract_app import ContractApp
from tests.servers.embedded import Embedded
from tests.servers.staging import REPOSITORY

SMALL = 100
PER_CALL = 5000
"""More at once would take too long for one request."""


def measure_restarts(app: str, runs: int, large: int, results: Results) -> None:
    """Restart the server with tasks that wait, and with entities."""
    for row, case in (
        ("restart with tasks", "enqueue_later"),
        ("restart with entities", "store_entities"),
    ):
        with tempfile.TemporaryDirectory() as folder:
            restarts = {}
            for side, number in ((LITTLE, SMALL), (MUCH, large)):
                work = pathlib.Path(folder, side)
                work.mkdir()
                option = f"--storage={work / 'storage'}"
                with Embedded(stage(app, work), work, option) as server:
                    for first in range(0, number, PER_CALL):
                        times = min(PER_CALL, number - first)
                        ContractApp(server, work).call(case, first, times)
                restarts[side] = functools.partial(seconds_to_200, HERE, app, option)
            for run in range(runs):
                results.measure(row, run, restarts)


def measure_calls(large: int, calls: int, results: Results) -> None:
    """Run devserver/tests/bench/storage.py, once: its figures are medians already."""
    command = [sys.executable, "-m", "tests.bench.storage", "--json"]
    command += [f"--large={large}", f"--calls={calls}"]
    done = subprocess.run(
        command,
        cwd=REPOSITORY / "devserver",
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    for row, seconds in json.loads(done.stdout).items():
        for side, figure in zip((LITTLE, MUCH), seconds, strict=True):
            results.add(row, side, figure * 1e6)
