"""Measure the dev server with much stored, as devserver/tests/bench/storage.py does."""

import json
import subprocess
import sys

from tests.bench.rows import LITTLE, MUCH, Results
from tests.servers.staging import REPOSITORY


def measure_stored(runs: int, large: int, calls: int, results: Results) -> None:
    """Run that module with its own packages, which this folder cannot import."""
    command = [sys.executable, "-m", "tests.bench.storage", "--json"]
    command += [f"--large={large}", f"--calls={calls}"]
    for _ in range(runs):
        done = subprocess.run(
            command,
            cwd=REPOSITORY / "devserver",
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        for row, (little, much) in json.loads(done.stdout).items():
            results.add(row, LITTLE, little * 1e6)
            results.add(row, MUCH, much * 1e6)
