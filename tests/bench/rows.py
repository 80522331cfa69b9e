"""What is measured: tables of rows, and the two sides that each table compares."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

HERE = "gae-devserver"
DEV_APPSERVER = "dev_appserver.py"
EMULATOR = "Datastore emulator"
BUNDLED, CLOUD_TASKS = "bundled", "Cloud Tasks"
LITTLE, MUCH = "100 stored", "many stored"
HIDDEN, AS_IT_IS = "client hidden", "as it is"

CLIENTS = {"1 client": (1, 1), "8 threads": (1, 8), "8 processes": (8, 1)}
"""How Cloud NDB is used -> processes, and threads in each."""
TASKS_CLIENTS = {"1 client": 1, "8 processes": 8}
OPERATIONS = ("put", "get", "transaction")


@dataclass(frozen=True)
class Table:
    """Rows, each with its unit, and the two sides that are measured in turn."""

    title: str
    sides: tuple[str, str]
    rows: Mapping[str, str]


TABLES = (
    Table(
        "An app",
        (HERE, DEV_APPSERVER),
        {
            "start to the first 200": "s",
            "GET, 1 connection": "/s",
            "GET, 8 connections": "/s",
            "no-op tasks, 1,000": "/s",
            "no-op tasks, 10,000": "/s",
            "increments of one counter": "/s",
            "deliveries per increment": "",
            "reset after a test": "ms",
            "a suite of 100 tests": "s",
            "memory, all processes (RSS)": "MB",
            "memory, shared pages once (PSS)": "MB",
        },
    ),
    Table(
        "Cloud NDB",
        (HERE, EMULATOR),
        {
            "start to the first Lookup": "s",
            **{f"{what}, {who}": "/s" for who in CLIENTS for what in OPERATIONS},
            "query, 10 of 10,000": "ms",
        },
    ),
    Table(
        "Tasks that are added",
        (BUNDLED, CLOUD_TASKS),
        {
            "deferred.defer, one by one": "/s",
            **{
                f"{rpc}, {clients}": unit
                for rpc, unit in (("CreateTask", "/s"), ("BatchCreateTasks", "tasks/s"))
                for clients in TASKS_CLIENTS
            },
        },
    ),
    Table(
        "With much stored",
        (LITTLE, MUCH),
        {"a put": "us", "an add due now": "us", "an add due last": "us"},
    ),
    Table(
        "Cold start in production",
        (HIDDEN, AS_IT_IS),
        {"import deferred, CPU": "ms", "import deferred, RSS": "MB"},
    ),
)
UNITS = {row: unit for table in TABLES for row, unit in table.rows.items()}


def ratio(row: str, first: float, second: float) -> float:
    """Return how many times better the first side is."""
    return first / second if UNITS[row].endswith("/s") else second / first


@dataclass(frozen=True)
class Results:
    """The figures of each row and side, in the order in which they were measured."""

    figures: dict[tuple[str, str], list[float]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def add(self, row: str, side: str, figure: float) -> None:
        """Add a figure."""
        if row not in UNITS:
            raise KeyError(row)
        self.figures[row, side].append(figure)

    def of(self, row: str, side: str) -> list[float]:
        """Return the figures of a row on one side; none if it was not measured."""
        return self.figures.get((row, side), [])

    def ratios(self, row: str, sides: tuple[str, str]) -> list[float]:
        """Return how many times better the first side was, in each run."""
        pairs = zip(*(self.of(row, side) for side in sides), strict=False)
        return [ratio(row, first, second) for first, second in pairs]

    def measure(self, row: str, run: int, sides: Mapping[str, Measure]) -> None:
        """Measure the sides one after the other; in each second run, the other first.

        So neither side has the advantage if the machine gets slower or faster.
        """
        for side in in_turn(list(sides), run):
            self.add(row, side, sides[side]())


Measure = Callable[[], float]


def in_turn(sides: Sequence[str], run: int) -> Iterator[str]:
    """Yield the sides, in each second run in the opposite order."""
    yield from reversed(sides) if run % 2 else sides


def summary(figures: Sequence[float]) -> dict[str, float]:
    """Return the median of some figures, and the lowest and the highest."""
    return {
        "median": statistics.median(figures),
        "lowest": min(figures),
        "highest": max(figures),
    }
