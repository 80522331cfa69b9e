"""Measure what `import deferred` costs where an app runs in production.

The SDK imports the client of Cloud Tasks, also where the app does not use it, unless
the lines in docs/cloud-tasks.md hide it. Each import is that of a new interpreter,
without the dev server's `sitecustomize`, and its modules are compiled already. It
has no aiohttp, which the dev server requires, and google-auth imports if it is there.
"""

import subprocess
import sys

from tests.bench import memory
from tests.bench.rows import AS_IT_IS, HIDDEN, Results, in_turn
from tests.commands import pages

IMPORT = """\
import time
from google.appengine.ext import deferred
print(time.process_time(), flush=True)
input()
"""
(RECIPE,) = pages.blocks(
    pages.section(
        pages.page("docs/cloud-tasks.md"), "If you stay with the bundled service"
    ),
    "python",
)
NO_AIOHTTP = 'import sys; sys.modules["aiohttp"] = None'
SCRIPTS = {
    HIDDEN: f"{NO_AIOHTTP}\n{RECIPE}\n{IMPORT}",
    AS_IT_IS: f"{NO_AIOHTTP}\n{IMPORT}",
}
TIMES = 3
"""A cold start is short, so each run has several."""


def measure_cold_start(runs: int, results: Results) -> None:
    """Import the SDK in new interpreters, with and without the client."""
    for script in SCRIPTS.values():
        cost_of(script)  # compiles
    for run in range(TIMES * runs):
        for side in in_turn(list(SCRIPTS), run):
            seconds, megabytes = cost_of(SCRIPTS[side])
            results.add("import deferred, CPU", side, seconds * 1000)
            results.add("import deferred, RSS", side, megabytes)


def cost_of(script: str) -> tuple[float, float]:
    """Run a script; return the CPU seconds that it prints, and its RSS in MB."""
    # the SDK's own warnings are for its developers
    command = [sys.executable, "-W", "ignore", "-c", script]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        seconds = float(process.stdout.readline())
        megabytes = memory.rss({process.pid})
        process.communicate("\n")
    return seconds, megabytes
