"""Use Cloud NDB on the datastore of DATASTORE_EMULATOR_HOST, as it is told.

    python ndb_client.py PROJECT

Each line of its input is a list in JSON, one of

    [OPERATION, THREADS, SECONDS]   put, get or transaction, again and again
    ["fill"]                        store what the query looks for
    ["query"]

The answer is a line with a number: how often a second; for a query, milliseconds. A
client is a thread with its own context, as in the samples.
"""

import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from google.cloud import ndb

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


OPERATIONS = {"put": put, "get": get, "transaction": transaction}


def rate(
    client: ndb.Client, operation: Callable[[str], None], threads: int, seconds: float
) -> float:
    """Return operations per second of some threads, each with its own entity."""
    together = threading.Barrier(threads)

    def work(number: int) -> tuple[int, float]:
        with client.context():
            name = f"own-{os.getpid()}-{number}"
            put(name)
            together.wait()
            began, done = time.perf_counter(), 0
            while time.perf_counter() < began + seconds:
                operation(name)
                done += 1
            return done, time.perf_counter() - began

    with ThreadPoolExecutor(threads) as executor:
        results = list(executor.map(work, range(threads)))
    return sum(done for done, _ in results) / max(took for _, took in results)


def fill(client: ndb.Client) -> None:
    """Store 10,000 entities in groups of 10."""
    with client.context(cache_policy=False):
        for first in range(0, ENTITIES, 500):
            numbers = range(first, first + 500)
            ndb.put_multi([Crowd(id=n + 1, group=f"g{n // 10}") for n in numbers])


def query_milliseconds(client: ndb.Client) -> float:
    """Return the median of an equality query that finds 10 of 10,000 entities."""
    took = []
    with client.context(cache_policy=False):
        for number in range(QUERIES):
            began = time.perf_counter()
            found = Crowd.query(Crowd.group == f"g{number}").fetch()
            took.append(time.perf_counter() - began)
            assert len(found) == 10, f"{len(found)} entities in place of 10"
    return statistics.median(took) * 1000


def main(project: str) -> None:
    """Do what each line of the input says."""
    # with DATASTORE_EMULATOR_HOST set, the client needs no credentials
    client = ndb.Client(project=project)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        figure = 0.0
        if name == "fill":
            fill(client)
        elif name == "query":
            figure = query_milliseconds(client)
        else:
            figure = rate(client, OPERATIONS[name], *arguments)
        print(figure, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
