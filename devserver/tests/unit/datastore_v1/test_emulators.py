r"""The same random entities and queries here and on Google's emulators.

Not part of the usual run: start an emulator and name its address.

    gcloud beta emulators datastore start --host-port=127.0.0.1:8381 \
        --no-store-on-disk --consistency=1.0 --project=unit
    DATASTORE_CLASSIC_HOST=127.0.0.1:8381 \
        python -m pytest tests/unit/datastore_v1/test_emulators.py

    gcloud emulators firestore start --database-mode=datastore-mode \
        --host-port=127.0.0.1:8382 --project=unit
    DATASTORE_FIRESTORE_HOST=127.0.0.1:8382 \
        python -m pytest tests/unit/datastore_v1/test_emulators.py

The test leaves out where the emulators are known to differ from the service or from
each other:

- The classic emulator has no !=, IN, NOT_IN, OR and aggregations, and only one
  inequality. It gives users an id, and never answers NO_MORE_RESULTS. Its cursors do
  not continue in the right place if an order has several values.
- Both emulators sometimes fail with UNKNOWN, without a reason.
- The Firestore emulator returns an entity once for each value of a list that matches,
  so it gets no lists. It has no metadata.
- If the last order is descending, the Firestore emulator breaks ties in descending
  order, the classic emulator and the bundled API in ascending order. So every order
  here ends with the key.
"""

import os
import random
import uuid
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from tests.helpers.datastore_v1 import (
    AND,
    EQUAL,
    GREATER,
    GREATER_OR_EQUAL,
    HAS_ANCESTOR,
    IN,
    LESS,
    LESS_OR_EQUAL,
    NOT_EQUAL,
    NOT_IN,
    OR,
    RawClient,
    combine,
    entity,
    key,
    point,
    query_fields,
    timestamp,
    user,
    value,
    where,
)

EMULATORS = {
    "classic": "DATASTORE_CLASSIC_HOST",
    "firestore": "DATASTORE_FIRESTORE_HOST",
}
INEQUALITIES = (LESS, LESS_OR_EQUAL, GREATER, GREATER_OR_EQUAL)
NAMES = ("a", "b", "c")
ROUNDS = 12
QUERIES = 40


@pytest.fixture(params=EMULATORS)
def emulator(request: pytest.FixtureRequest) -> Iterator[tuple[str, RawClient]]:
    """One of Google's emulators, if its address is known."""
    variable = EMULATORS[request.param]
    if variable not in os.environ:
        pytest.skip(f"{variable} does not name an emulator")
    client = RawClient(os.environ[variable])
    yield request.param, client
    client.close()


class Chooser:
    """Makes random entities and queries that an emulator supports."""

    def __init__(self, seed: int, flavor: str) -> None:
        self._random = random.Random(seed)
        self._classic = flavor == "classic"
        # The kind is new, as an emulator cannot be emptied.
        self.kind = f"K{uuid.uuid4().hex}"

    def value(self) -> Any:
        """Return an indexed value."""
        choose = self._random.choice
        return choose(
            [
                value(None),
                value(choose([True, False])),
                *[value(choose([-1, 0, 1, 2, 2**62]))] * 5,
                value(choose([-0.5, 0.0, 0.5, float("inf"), float("nan")])),
                *[value(choose(["", "a", "b", "é"]))] * 3,
                value(choose([b"", b"a", b"\xff"])),
                timestamp(choose([0, 1]), 1000),
                point(choose([1, 2]), 3),
                value(key("R", choose([1, 2, "1"]))),
                value(key("R", 2)) if self._classic else user(choose(["a@b", "c@d"])),
            ]
        )

    def entities(self) -> list[Any]:
        """Return a few entities; many share values."""
        found = []
        for number in range(1, 15):
            parent = self._random.choice([(), ("P", 1), ("P", 1, "P", 2)])
            made = entity(key(*parent, self.kind, number))
            for name in NAMES:
                match self._random.randrange(6):
                    case 0:
                        continue
                    case 1 if self._classic:
                        made.properties[name] = value([self.value(), self.value()])
                    case 2:
                        inner = entity(None, x=self._random.randrange(3))
                        made.properties[name] = value(inner)
                    case _:
                        made.properties[name] = self.value()
            found.append(made)
        return found

    def filter(self, name: str, operators: tuple[int, ...]) -> dict[str, Any]:
        """Return a filter on one property."""
        operator = self._random.choice(operators)
        if operator in (IN, NOT_IN):
            several = [self.value() for _ in range(self._random.randrange(1, 4))]
            return where(name, operator, several)
        return where(name, operator, self.value())

    def query(self) -> dict[str, Any]:
        """Return a query; its order ends with the key."""
        pick = self._random
        order: list[str] = []
        free = list(NAMES)
        pick.shuffle(free)
        equal = pick.choice([0, 0, 1, 1, 2])
        filters = [self.filter(free.pop(), (EQUAL,)) for _ in range(equal)]
        inequal = pick.choice([0, 0, 1, 1, 2]) if free else 0
        for _ in range(min(inequal, 1 if self._classic else len(free))):
            name = free.pop()
            filters.append(self.filter(name, INEQUALITIES))
            order.append(name)
        if not self._classic and pick.random() < 0.3 and free:
            name = free.pop()
            filters.append(self.filter(name, (NOT_EQUAL, NOT_IN)))
            order.append(name)
        elif not self._classic and pick.random() < 0.3 and free:
            choices = [self.filter(free[-1], (EQUAL, IN)), self.filter("a", (EQUAL,))]
            filters.append(combine(OR, *choices))
            free.pop()
        if pick.random() < 0.2:
            ancestor = pick.choice([key("P", 1), key("P", 1, "P", 2)])
            filters.append(where("__key__", HAS_ANCESTOR, ancestor))
        query: dict[str, Any] = {}
        if filters:
            query["filter"] = combine(AND, *filters)
        order += pick.sample(free, pick.randrange(len(free) + 1))[:2]
        if not self._classic and pick.random() < 0.5:
            order.reverse()
        order = [pick.choice(["", "-"]) + name for name in order]
        query["order"] = (*order, pick.choice(["", "-"]) + "__key__")
        if free and pick.random() < 0.2:
            query["projection"] = (pick.choice(free),)
            if query["projection"][0] not in (name.lstrip("-") for name in order):
                order.append(query["projection"][0])
            query["order"] = (*order, "__key__")
        elif pick.random() < 0.2:
            query["projection"] = ("__key__",)
        if pick.random() < 0.3:
            query["limit"] = pick.randrange(6)
        if pick.random() < 0.3:
            query["offset"] = pick.randrange(4)
        return query


def answer(client: RawClient, kind: str, query: dict[str, Any]) -> Any:
    """Return what a query finds, or the status."""
    try:
        return results(client.run(kind, **query))
    except grpc.RpcError as error:
        return error.code()


def paged(client: RawClient, kind: str, query: dict[str, Any]) -> Any:
    """Return what a query finds in pages of four, each from the cursor before."""
    found: list[Any] = []
    cursor = b""
    while True:
        batch = client.run(kind, **query, limit=4, start_cursor=cursor)
        found += results(batch)
        if len(batch.entity_results) < 4:
            return found
        cursor = batch.end_cursor


def results(batch: Any) -> list[Any]:
    """Return the key and the properties of each result."""
    return [
        (
            tuple(
                (element.kind, element.id, element.name)
                for element in result.entity.key.path
            ),
            {
                name: content._pb.SerializeToString(deterministic=True)
                for name, content in result.entity.properties.items()
            },
        )
        for result in batch.entity_results
    ]


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_the_emulator_gives_the_same_answers(
    raw: RawClient, emulator: tuple[str, RawClient], seed: int
) -> None:
    """Every query finds the same entities with the same values in the same order."""
    flavor, theirs = emulator
    chooser = Chooser(seed, flavor)
    entities = chooser.entities()
    raw.upsert(*entities)
    theirs.upsert(*entities)
    compared = 0
    for _ in range(QUERIES):
        query = chooser.query()
        expected = answer(theirs, chooser.kind, query)
        if expected is not grpc.StatusCode.UNKNOWN:
            found = answer(raw, chooser.kind, query)
            assert found == expected, query_fields(chooser.kind, **query)
            whole = not query.keys() & {"limit", "offset"}
            if whole and isinstance(found, list):
                assert paged(raw, chooser.kind, query) == expected
            compared += 1
    assert compared > QUERIES // 2
