"""Measure the dev server side by side with Google's, and print tables.

    python -m tests.bench [--short] [--alone] [--only app] [--json FILE] [--page FILE]

The two sides of a table take turns in each row and run, so that a machine that gets
slower on the way slows down both. A figure is the median of the runs; a ratio is the
median of the ratios of each run. The servers of a table run at the same time: one that
waits takes 1 % of a core.
"""

import argparse
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace

from gae_devserver.testing import ending

from tests.bench import report, servers
from tests.bench.added_tasks import measure_deferred, measure_rpcs
from tests.bench.app import measure_app
from tests.bench.cloud_ndb import measure_cloud_ndb
from tests.bench.cold_start import measure_cold_start
from tests.bench.rows import DEV_APPSERVER, EMULATOR, HERE, Results
from tests.bench.starts import measure_starts
from tests.bench.stored import measure_calls, measure_restarts
from tests.servers import staging
from tests.servers.contract_app import ContractApp
from tests.servers.datastore_emulator import DatastoreEmulator
from tests.servers.embedded import Embedded

RESULTS = staging.REPOSITORY / ".nox" / "bench.json"


@dataclass(frozen=True)
class Load:
    """How much is done, which the report shows."""

    runs: int = 5
    seconds: float = 2.0
    warm_up: float = 5.0
    increments: int = 300
    deferred: int = 500
    stored: int = 100_000
    calls: int = 5000


SHORT = Load(1, 0.4, 0.4, increments=50, deferred=100, stored=5000, calls=250)


@dataclass(frozen=True)
class Bench:
    """What is measured, how, and what came out."""

    app: str
    sides: list[str]
    load: Load
    results: Results = field(default_factory=Results)

    def apps(self) -> None:
        """Measure the app on the dev servers."""
        load = self.load
        with ExitStack() as at_end:
            work = pathlib.Path(at_end.enter_context(tempfile.TemporaryDirectory()))
            apps = {}
            for side in (HERE, DEV_APPSERVER):
                if side in self.sides:
                    server = servers.start(side, self.app, work)
                    at_end.callback(server.stop)
                    apps[side] = ContractApp(server, work / side)
            measure_app(apps, load.runs, load.seconds, load.increments, self.results)

    def tasks(self) -> None:
        """Measure how fast tasks are added."""
        load = self.load
        with tempfile.TemporaryDirectory() as folder:
            work = pathlib.Path(folder)
            with Embedded(servers.stage(self.app, work), work) as server:
                app = ContractApp(server, work)
                measure_deferred(app, self.app, load.runs, load.deferred, self.results)
                measure_rpcs(server, load.runs, load.seconds, self.results)

    def cloud_ndb(self) -> None:
        """Measure the datastores."""
        load = self.load
        with ExitStack() as at_end:
            work = pathlib.Path(at_end.enter_context(tempfile.TemporaryDirectory()))
            server = Embedded(servers.stage(self.app, work), work)
            at_end.callback(server.stop)
            hosts = {HERE: server.datastore_host}
            if EMULATOR in self.sides:
                emulator = DatastoreEmulator(work)
                at_end.callback(emulator.stop)
                hosts[EMULATOR] = emulator.host
            order = (load.runs, load.seconds, load.warm_up)
            measure_cloud_ndb(hosts, *order, self.results)

    def starts(self) -> None:
        """Measure the starts of the servers."""
        measure_starts(self.sides, self.app, self.load.runs, self.results)

    def cold_start(self) -> None:
        """Measure the SDK's import."""
        measure_cold_start(self.load.runs, self.results)

    def stored(self) -> None:
        """Measure the dev server with much stored."""
        measure_calls(self.load.stored, self.load.calls, self.results)
        measure_restarts(self.app, self.load.runs, self.load.stored, self.results)


# the starts after the app: the first start of dev_appserver.py makes an environment
PARTS: dict[str, Callable[[Bench], None]] = {
    "app": Bench.apps,
    "start": Bench.starts,
    "cloud-ndb": Bench.cloud_ndb,
    "tasks": Bench.tasks,
    "cold-start": Bench.cold_start,
    "stored": Bench.stored,
}


def positive_int(text: str) -> int:
    """Return the number in a text, which is at least 1."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def main() -> None:
    """Measure, print the tables, and write the files."""
    parser = argparse.ArgumentParser(
        prog="nox -s bench --", description="Measure the dev server."
    )
    add = parser.add_argument
    add("--short", action="store_true", help="one run with little load")
    add("--alone", action="store_true", help="leave out Google's servers")
    runs = f"the runs (default: {Load.runs}; with --short, 1)"
    add("--runs", type=positive_int, metavar="NUMBER", help=runs)
    add("--app", choices=staging.APPS, default="flask", help="the app that is served")
    add("--only", choices=PARTS, nargs="+", help="what to measure (default: all)")
    file = pathlib.Path
    add("--json", type=file, default=RESULTS, metavar="FILE", help="what to write")
    results = "the page on which to replace the results"
    add("--page", type=report.page, metavar="FILE", help=results)
    options = parser.parse_args()
    ending.end_as_with_ctrl_c()  # stops the servers
    # with it, as in many containers, Python compiles all modules again at each start
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    load = SHORT if options.short else Load()
    load = replace(load, runs=options.runs or load.runs)
    sides = [HERE, *servers.rivals(alone=options.alone)]
    bench = Bench(options.app, sides, load)
    settings = {"app": options.app, **asdict(load)}
    for name in options.only or PARTS:
        began = time.monotonic()
        PARTS[name](bench)
        print(f"measured in {time.monotonic() - began:.0f} s: {name}", flush=True)
        # after each part: an interruption does not lose what was measured before
        content = report.as_json(bench.results, settings)
        report.write(options.json, content)
    markdown = report.as_markdown(bench.results, content)
    if options.page:
        report.update_page(options.page, markdown)
    print(f"\n{markdown}\n\nEach single figure is in {options.json}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
