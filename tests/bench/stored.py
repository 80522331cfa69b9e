"""Measure the dev server with much stored, as devserver/tests/bench/storage.py does."""

import json
import subprocess
import sys

from tests.bench.rows import LITTLE, MUCH, UNITS, Results
from tests.servers.staging import REPOSITORY

FACTORS = {"s": 1, "ms": 1e3, "us": 1e6}


def measure_stored(large: int, calls: int, results: Results) -> None:
    """Run that module in its own folder, once: a figure is a median already."""
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
            results.add(row, side, figure * FACTORS[UNITS[row]])
