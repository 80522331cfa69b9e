"""Use Cloud NDB on the datastore of DATASTORE_EMULATOR_HOST, and print figures.

    python ndb_client.py PROJECT SECONDS

Prints a JSON object: what was done -> how often a second; for a query, milliseconds. A
client is a thread with its own context, as in the samples.
"""

import json
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from google.cloud import ndb

CLIENTS = (1, 8)
ENTITIES = 10_000
QUERIES = 15


class Bench(ndb.Model):  # type: ignore[misc]
    """Something small."""

    count = ndb.IntegerProperty()


class Crowd(ndb.Model):  # type: ignore[misc]
    """One of many."""

    group = ndb.StringProperty()


def put(name: str) -> None:
    """Write an entity."""
    Bench(id=name, count=1).put()


def get(name: str) -> None:
    """Read an entity."""
    assert Bench.get_by_id(name, use_cache=False).count is not None


@ndb.transactional()  # type: ignore[untyped-decorator]
def transaction(name: str) -> None:
    """Read and write an entity."""
    entity = Bench.get_by_id(name)
    entity.count += 1
    entity.put()


def rate(
    client: ndb.Client, operation: Callable[[str], None], clients: int, seconds: float
) -> float:
    """Return operations per second of `clients` at once, each with its own entity."""
    together = threading.Barrier(clients)

    def work(number: int) -> tuple[int, float]:
        with client.context():
            name = f"own-{number}"
            operation(name)
            together.wait()
            began, done = time.perf_counter(), 0
            while time.perf_counter() < began + seconds:
                operation(name)
                done += 1
            return done, time.perf_counter() - began

    with ThreadPoolExecutor(clients) as executor:
        results = list(executor.map(work, range(clients)))
    return sum(done for done, _ in results) / max(took for _, took in results)


def query_milliseconds(client: ndb.Client) -> float:
    """Return the median of an equality query that finds 10 of 10,000 entities."""
    with client.context(cache_policy=False):
        for first in range(0, ENTITIES, 500):
            numbers = range(first, first + 500)
            ndb.put_multi([Crowd(id=n + 1, group=f"g{n // 10}") for n in numbers])
        took = []
        for number in range(QUERIES):
            began = time.perf_counter()
            found = Crowd.query(Crowd.group == f"g{number}").fetch()
            took.append(time.perf_counter() - began)
            assert len(found) == 10, f"{len(found)} entities in place of 10"
    return statistics.median(took) * 1000


def main(project: str, seconds: float) -> dict[str, float]:
    """Measure everything."""
    # with DATASTORE_EMULATOR_HOST set, the client needs no credentials
    client = ndb.Client(project=project)
    figures = {}
    for clients in CLIENTS:
        for operation in (put, get, transaction):
            row = f"Cloud NDB {operation.__name__}, {clients} at once"
            figures[row] = rate(client, operation, clients, seconds)
    figures["Cloud NDB query, 10 of 10,000"] = query_milliseconds(client)
    return figures


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], float(sys.argv[2]))))
