"""Random transactions side by side have the effects of running one by one."""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count, islice, permutations
from typing import Any

import grpc
import pytest
from hypothesis import settings

from gae_devserver.datastore_v1.limits import Limits
from tests.helpers.datastore_v1 import (
    AND,
    EQUAL,
    GREATER_OR_EQUAL,
    HAS_ANCESTOR,
    OR,
    RawClient,
    combine,
    entity,
    key,
    query_fields,
    where,
)
from tests.helpers.running_datastore import RunningDatastore

PATHS: list[Any] = [("A", 1), ("A", 1, "A", 3), ("A", 2), ("B", 2)]
ROOT = PATHS[0]
PARTS = 10
SEEDS = range(2 * settings().max_examples)
"""The seeds of the random transactions; --hypothesis-profile many makes more."""
Stored = dict[Any, tuple[int, int]]
"""By path, the values of p and n."""


@dataclass(frozen=True)
class Query:
    """A query that the server and the model both run."""

    kind: str | None
    at_least: int = 0
    one_of: tuple[int, ...] = ()
    below: bool = False
    """Whether it is an ancestor query."""
    descending: bool = False
    offset: int = 0
    limit: int | None = None
    distinct: bool = False

    def fields(self) -> dict[str, Any]:
        """Return the fields of the request."""
        filters = [where("__key__", HAS_ANCESTOR, key(*ROOT))] if self.below else []
        if self.at_least:
            filters.append(where("p", GREATER_OR_EQUAL, self.at_least))
        if self.one_of:
            each = [where("p", EQUAL, value) for value in self.one_of]
            filters.append(combine(OR, *each))
        query: dict[str, Any] = {"offset": self.offset}
        if self.kind:
            query["order"] = ("-p" if self.descending else "p",)
        if filters:
            query["filter"] = combine(AND, *filters)
        if self.limit is not None:
            query["limit"] = self.limit
        if self.distinct:
            query |= {"projection": ("p",), "distinct": ("p",)}
        return query_fields(self.kind, **query)

    def answer(self, stored: Stored) -> list[Any]:
        """Return the paths that the query finds, as the model computes them."""
        found = [
            (p, path)
            for path, (p, _) in stored.items()
            if p >= self.at_least
            and (not self.one_of or p in self.one_of)
            and self.kind in (None, path[-2])
            and (not self.below or path[:2] == ROOT)
        ]
        found.sort(key=lambda hit: hit[1])
        if self.kind:
            found.sort(key=lambda hit: hit[0], reverse=self.descending)
        if self.distinct:
            firsts: dict[int, Any] = {}
            for p, path in found:
                firsts.setdefault(p, path)
            found = list(firsts.items())
        paths = [path for _, path in found]
        return list(islice(paths, self.offset, None))[: self.limit]


@dataclass
class Work:
    """One transaction: what it reads, step by step, and what it then writes."""

    steps: list[Any]
    """Paths to look up, queries, and queries of which it counts the results."""
    writes: list[tuple[str, Any, tuple[int, int]]]
    options: Any
    """Those of the transaction; None: a commit outside transactions."""
    seen: list[Any] = field(default_factory=list)

    def is_like(self, stored: Stored) -> bool:
        """Run alone, and return whether it sees the same and can write the same."""
        for step, seen in zip(self.steps, self.seen, strict=True):
            if seen != expected(step, stored):
                return False
        for operation, path, values in self.writes:
            if operation == ("insert" if path in stored else "update"):
                return False
            stored.pop(path, None)
            if operation != "delete":
                stored[path] = values
        return True


def expected(step: Any, stored: Stored) -> Any:
    """Return what the model reads."""
    match step:
        case Query():
            return [(path, stored[path][1]) for path in step.answer(stored)]
        case ["count", query]:
            return len(query.answer(stored))
    return stored.get(step)


def read(raw: RawClient, step: Any, options: Any) -> Any:
    """Return what the server reads."""
    match step:
        case Query():
            fields = step.fields()
            batch = raw.call("RunQuery", **fields, read_options=options).batch
            found = [result.entity for result in batch.entity_results]
            return [(path_of(each), n_of(raw, each, options)) for each in found]
        case ["count", query]:
            fields = query.fields()
            asked = {
                "nested_query": fields.pop("query"),
                "aggregations": [{"count": {}}],
            }
            fields |= {"aggregation_query": asked, "read_options": options}
            (found,) = raw.call(
                "RunAggregationQuery", **fields
            ).batch.aggregation_results
            return found.aggregate_properties["property_1"].integer_value
    answer = raw.call("Lookup", keys=[key(*step)], read_options=options)
    if not answer.found:
        return None
    values = answer.found[0].entity.properties
    return values["p"].integer_value, values["n"].integer_value


def n_of(raw: RawClient, found: Any, options: Any) -> int:
    """Return n of a result; a projection does not have it."""
    if "n" in found.properties:
        return int(found.properties["n"].integer_value)
    return int(read(raw, path_of(found), options)[1])


def path_of(found: Any) -> Any:
    """Return the path of an entity."""
    return tuple(
        part for element in found.key.path for part in (element.kind, element.id)
    )


def random_query(chance: random.Random) -> Query:
    """Return a query of a kind, or of all kinds in the order of keys."""
    kind = chance.choice(["A", "A", "A", "B", None])
    query = Query(
        kind,
        below=chance.random() < 0.3,
        offset=chance.choice([0, 0, 1]),
        limit=chance.choice([None, 1, 2]),
    )
    if kind is None:
        return query
    match chance.randrange(4):
        case 0:
            return replace(query, one_of=(chance.randint(1, 4),))
        case 1:
            return replace(query, one_of=(1, 3))
        case 2:
            return replace(query, distinct=True)
    descending = chance.random() < 0.4
    return replace(query, at_least=chance.randint(1, 4), descending=descending)


def random_work(chance: random.Random, numbers: Iterator[int]) -> Work:
    """Return a transaction that reads and writes a little."""
    steps: list[Any] = []
    for _ in range(chance.randint(1, 3)):
        match chance.randrange(5):
            case 0 | 1:
                steps.append(random_query(chance))
            case 2:
                steps.append(["count", random_query(chance)])
            case _:
                steps.append(chance.choice(PATHS))
    changed = chance.sample(PATHS, chance.choice([0, 1, 1, 2, 2]))
    operations = ["upsert", "upsert", "upsert", "delete", "insert", "update"]
    writes = [
        (chance.choice(operations), path, (chance.randint(1, 4), next(numbers)))
        for path in changed
    ]
    match chance.randrange(6):
        case 0 if writes:
            return Work([], writes, None)
        case 1:
            return Work(steps, [], {"read_only": {}})
    return Work(steps, writes, {"read_write": {}})


def run(raw: RawClient, work: Work) -> Iterator[None]:
    """Carry out a transaction, with a pause after each request."""
    mutations = [
        {
            operation: key(*path)
            if operation == "delete"
            else entity(key(*path), p=values[0], n=values[1])
        }
        for operation, path, values in work.writes
    ]
    if work.options is None:
        raw.commit(*mutations)
        return
    transaction = raw.call("BeginTransaction", transaction_options=work.options)
    options = {"transaction": transaction.transaction}
    yield
    for step in work.steps:
        work.seen.append(read(raw, step, options))
        yield
    raw.commit(*mutations, **options)


def stored_now(raw: RawClient) -> Stored:
    """Return everything that is stored."""
    found = [read(raw, path, {}) for path in PATHS]
    return {path: each for path, each in zip(PATHS, found, strict=True) if each}


@pytest.mark.parametrize(
    "running", [Limits(patience=0.001)], ids=["impatient"], indirect=True
)
@pytest.mark.parametrize("part", range(PARTS))
def test_transactions_side_by_side(
    running: RunningDatastore, raw: RawClient, part: int
) -> None:
    """Those that commit have read and written as if each had run alone."""
    ends: Counter[str] = Counter()
    for seed in SEEDS[part::PARTS]:
        chance = random.Random(seed)
        numbers = count(1)
        if chance.random() < 0.5:
            running.clear()  # else earlier conflicts make transactions wait in line
        raw.commit(*({"delete": key(*path)} for path in PATHS))
        before = {
            path: (chance.randint(1, 4), next(numbers))
            for path in chance.sample(PATHS, chance.randint(1, 4))
        }
        raw.upsert(*(entity(key(*at), p=p, n=n) for at, (p, n) in before.items()))
        works = [random_work(chance, numbers) for _ in range(chance.randint(2, 4))]
        running_works = [(work, run(raw, work)) for work in works]
        committed = []
        while running_works:
            work, steps = chance.choice(running_works)
            try:
                next(steps)
                continue
            except StopIteration:
                committed.append(work)
                ends["committed"] += 1
            except grpc.RpcError as error:
                ends[error.code().name] += 1
            running_works.remove((work, steps))
        after = stored_now(raw)
        assert any(
            matches(before, order, after) for order in permutations(committed)
        ), f"seed {seed}: {before} {committed} {after}"
    assert ends.keys() <= {"committed", "ABORTED", "ALREADY_EXISTS", "NOT_FOUND"}
    assert ends["ABORTED"] < ends["committed"]


def matches(before: Stored, order: tuple[Work, ...], after: Stored) -> bool:
    """Return whether transactions in this order read what they read, and end so."""
    stored = dict(before)
    return all(work.is_like(stored) for work in order) and stored == after
