"""Measure what a put and an add cost, with little stored and with much.

    python -m tests.bench.storage [--large 100000] [--calls 5000] [--json]

It calls the services as the app's requests do, with a storage on disk, but without
HTTP, which would hide the difference.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from gae_devserver.storage.storage import Storage
from tests.helpers.calls import PROJECT, AppRequest, Server, add_request, reference

SMALL = 100
ROUNDS = 25
PER_CALL = 100
"""Tasks that one call adds while the storage is filled: the most it may add."""

Call = Callable[[int], Awaitable[object]]


async def fill(api: AppRequest, kind: str, number: int) -> None:
    """Store `number` entities and tasks."""
    for first in range(0, number, PER_CALL):
        numbers = range(first, min(first + PER_CALL, number))
        for n in numbers:
            await api.put(reference(kind, f"stored-{n}"), n)
        await api.bulk_add(add_request(f"stored-{n}", due_in=1e5) for n in numbers)


async def cost(calls: Sequence[Call], times: int) -> list[float]:
    """Return the CPU seconds that each call takes: the median of some rounds.

    It takes CPU time, and the rounds alternate, so that other load on the machine does
    not slow down only one kind of call. Nothing here waits for the disk.
    """
    rounds: list[list[float]] = [[] for _ in calls]
    for number in range(ROUNDS):
        for call, costs in zip(calls, rounds, strict=True):
            began = time.process_time()
            for n in range(times // ROUNDS):
                await call(number * times + n)
            costs.append((time.process_time() - began) / (times // ROUNDS))
    return [statistics.median(costs) for costs in rounds]


async def measure(folder: Path, large: int, times: int) -> dict[str, list[float]]:
    """Return the costs of a put and two adds, with little and with much stored."""
    servers = []
    for stored in (SMALL, large):
        server = Server(storage=Storage(folder / str(stored), PROJECT))
        await fill(server.request(), "Counter", stored)
        servers.append(server)

    def put(server: Server) -> Call:
        # Always the same keys, so that the number of entities stays the same.
        api = server.request()
        return lambda n: api.put(reference("Counter", f"stored-{n % SMALL}"), n)

    def add_now(server: Server) -> Call:
        # Due before all stored tasks; its name sorts anywhere among theirs.
        api = server.request()
        return lambda n: api.add()

    def add_later(server: Server) -> Call:
        api = server.request()
        return lambda n: api.add(f"new-{n}", due_in=2e5)

    kinds = {"a put": put, "an add due now": add_now, "an add due last": add_later}
    costs = {
        name: await cost([kind(server) for server in servers], times)
        for name, kind in kinds.items()
    }
    for server in servers:
        server.services.close()
    return costs


def show(large: int, times: int, *, as_json: bool = False) -> None:
    """Print a table, or the seconds as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        costs = asyncio.run(measure(Path(folder), large, times))
    if as_json:
        print(json.dumps(costs))
        return
    print(f"{'median':16}{SMALL:>12,} stored{large:>12,} stored{'ratio':>8}")
    for name, (little, much) in costs.items():
        print(
            f"{name:16}{little * 1e6:>16.0f} us{much * 1e6:>16.0f} us"
            f"{much / little:>8.2f}"
        )


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.storage")
    parser.add_argument("--large", type=int, default=100_000)
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    show(options.large, options.calls, as_json=options.json)


if __name__ == "__main__":
    main()
