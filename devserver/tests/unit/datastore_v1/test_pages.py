"""Pages of a query: wherever a cursor points, both sides of it join."""

# google-cloud-datastore has no types
# mypy: disallow-untyped-calls=False

import contextlib
from collections.abc import Iterator
from itertools import count
from typing import Any

import grpc
import pytest
from google.cloud import ndb
from google.cloud.datastore import Client
from hypothesis import given
from hypothesis import strategies as st

from gae_devserver.datastore_v1.limits import Limits
from tests.helpers.calls import PROJECT
from tests.helpers.datastore_v1 import (
    AND,
    EQUAL,
    GREATER,
    HAS_ANCESTOR,
    IN,
    LESS,
    NOT_EQUAL,
    OR,
    RawClient,
    combine,
    entity,
    key,
    where,
)
from tests.helpers.running_datastore import RunningDatastore

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FINISHED = 1
SMALL = Limits(batch_results=3, batch_skipped=4)
KINDS = (f"K{number}" for number in count())

numbers = st.integers(0, 2)
FILTERS: list[Any] = [
    None,
    where("a", GREATER, 0),
    where("a", NOT_EQUAL, 1),
    where("a", IN, [0, 2]),
    combine(OR, where("b", EQUAL, 0), where("a", LESS, 1)),
    where("__key__", HAS_ANCESTOR, key("P", 1)),
    combine(AND, where("a", LESS, 2), where("__key__", HAS_ANCESTOR, key("P", 1))),
]


@st.composite
def queries(draw: st.DrawFn) -> dict[str, Any]:
    """A query whose order is complete, so that it can be reversed."""
    chosen = draw(st.sampled_from(FILTERS))
    query: dict[str, Any] = {"filter": chosen} if chosen else {}
    directions = st.sampled_from(["", "-"])
    names = draw(st.sampled_from([(), ("a",), ("b",), ("a", "b")]))
    query["order"] = tuple(draw(directions) + name for name in (*names, "__key__"))
    match draw(st.sampled_from(["", "", "keys", "projection", "distinct"])):
        case "keys":
            query["projection"] = ("__key__",)
        case "projection" if names and chosen != FILTERS[4] and chosen != FILTERS[3]:
            query["projection"] = names
        case "distinct" if names and chosen != FILTERS[4] and chosen != FILTERS[3]:
            query["projection"] = names
            query["distinct"] = names[:1]
    return query


@st.composite
def stored(draw: st.DrawFn) -> list[Any]:
    """The properties of entities: either all have lists, or none has one."""
    one = numbers
    if draw(st.booleans()):
        one = st.lists(numbers, min_size=1, max_size=2)  # type: ignore[assignment]
    properties = st.fixed_dictionaries({"a": one, "b": one})
    parents = st.sampled_from([(), ("P", 1)])
    return draw(st.lists(st.tuples(parents, properties), min_size=4, max_size=14))


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[RawClient, RawClient]]:
    """A server with small batches, and one whose answers are all in one batch."""
    running = [RunningDatastore(limits=SMALL), RunningDatastore()]
    small, whole = (RawClient(one.host) for one in running)
    yield small, whole
    for client, one in zip((small, whole), running, strict=True):
        client.close()
        one.stop()


def shown(batch: Any) -> list[Any]:
    """Return what tells results apart."""
    return [
        (
            tuple((element.kind, element.id) for element in found.key.path),
            {name: found.properties[name].integer_value for name in found.properties},
        )
        for found in (result.entity for result in batch.entity_results)
    ]


def places(batch: Any, start: int) -> Iterator[tuple[int, bytes]]:
    """Yield the cursors of a batch, each with the number of results before it."""
    assert bool(batch.skipped_cursor) == bool(batch.skipped_results)
    first = start + batch.skipped_results
    if batch.skipped_results:
        yield first, batch.skipped_cursor
    for place, result in enumerate(batch.entity_results, first + 1):
        yield place, result.cursor
    if batch.end_cursor:
        yield first + len(batch.entity_results), batch.end_cursor


def backwards(query: dict[str, Any]) -> dict[str, Any]:
    """Return the query in the reversed order."""
    order = (f"-{name}".replace("--", "") for name in query["order"])
    return {**query, "order": tuple(order)}


@given(stored(), queries(), st.integers(0, 12), st.none() | st.integers(0, 8))
def test_every_cursor_of_every_batch_joins_two_pages(
    servers: tuple[RawClient, RawClient],
    made: list[Any],
    query: dict[str, Any],
    offset: int,
    limit: int | None,
) -> None:
    """Batches with offset and limit give what one answer gives, and so does each part.

    The cursors are those of results, of the last skipped result and of the end.
    """
    small, whole = servers
    kind = next(KINDS)
    for client in servers:
        client.upsert(
            *(entity(key(*up, kind, n), **one) for n, (up, one) in enumerate(made, 1))
        )
    expected = shown(whole.run(kind, **query))
    single = not any(isinstance(one["a"], list) for _, one in made)
    found: list[Any] = []
    passed, start, left, more = 0, b"", limit, True
    while more:
        options: dict[str, Any] = {} if left is None else {"limit": left}
        batch = small.run(kind, **query, **options, start_cursor=start, offset=offset)
        assert len(batch.entity_results) <= SMALL.batch_results
        assert batch.skipped_results <= min(offset, SMALL.batch_skipped)
        for place, cursor in places(batch, passed):
            rest = whole.run(kind, **query, start_cursor=cursor)
            first = whole.run(kind, **query, end_cursor=cursor)
            assert shown(rest) == expected[place:]
            assert shown(first) == expected[:place]
            # a list sorts by another of its values in the reversed order
            if single and "distinct" not in query:
                before = whole.run(kind, **backwards(query), start_cursor=cursor)
                assert shown(before) == expected[:place][::-1]
        found += shown(batch)
        passed += batch.skipped_results + len(batch.entity_results)
        start, offset = batch.end_cursor, offset - batch.skipped_results
        left = None if left is None else left - len(batch.entity_results)
        more = batch.more_results == NOT_FINISHED
    skipped = passed - len(found)
    assert found == expected[skipped:][:limit]


@pytest.mark.parametrize("running", [SMALL], ids=["small"], indirect=True)
@pytest.mark.parametrize("offset", [0, 3, 5, 11, 20, 21])
@pytest.mark.parametrize("limit", [None, 3, 7, 30])
def test_libraries_join_the_batches(
    raw: RawClient, context: Any, offset: int, limit: int | None
) -> None:
    """An offset and a limit count over all batches, in both of Google's libraries."""
    raw.upsert(*(entity(key("A", n)) for n in range(1, 21)))
    expected = list(range(1, 21))[offset:][:limit]
    query = ndb.Query(kind="A")
    found = query.fetch(limit, offset=offset, keys_only=True)
    assert [one.id() for one in found] == expected
    assert query.count(limit) == min(20, limit or 20)
    # DATASTORE_EMULATOR_HOST is set for the other one
    library: Any = Client(project=PROJECT)
    with contextlib.closing(library):
        pages = library.query(kind="A").fetch(limit, offset)
        assert [one.key.id for one in pages] == expected


def test_an_offset_beyond_the_end_has_a_cursor_too(raw: RawClient) -> None:
    """The cursor after the last skipped result is set when no result follows it."""
    raw.upsert(*(entity(key("A", n), n=n) for n in range(1, 11)))
    for offset, skipped in ((5, 5), (99, 10)):
        batch = raw.run("A", offset=offset)
        assert batch.skipped_results == skipped
        rest = raw.run("A", start_cursor=batch.skipped_cursor)
        assert len(rest.entity_results) == 10 - skipped
    assert raw.run("A").skipped_cursor == b""


def test_a_batch_has_300_results_and_skips_1000(raw: RawClient) -> None:
    """A client gets the rest with the cursor at the end of the batch."""
    for first in (1, 501, 1001):
        raw.upsert(*(entity(key("A", n)) for n in range(first, first + 500)))
    batch = raw.run("A", limit=301)
    assert (len(batch.entity_results), batch.more_results) == (300, NOT_FINISHED)
    last = raw.run("A", start_cursor=batch.end_cursor, limit=1)
    assert shown(last) == [((("A", 301),), {})]
    skipping = raw.run("A", offset=1001, limit=1)
    assert (skipping.skipped_results, shown(skipping)) == (1000, [])
    assert skipping.more_results == NOT_FINISHED
    last = raw.run("A", start_cursor=skipping.end_cursor, offset=1, limit=1)
    assert shown(last) == [((("A", 1002),), {})]


OF_A_QUERY: dict[str, dict[str, Any]] = {
    "key": {},
    "order": {"order": ("n",)},
    "ancestor": {"filter": where("__key__", HAS_ANCESTOR, key("P", 1))},
    "filter": {"filter": where("n", GREATER, 2)},
}


@pytest.mark.parametrize(
    ("made_by", "kind", "namespace", "used_by"),
    [
        ("key", "B", "", {}),
        ("order", "B", "", {"order": ("n",)}),
        ("key", "A", "other", {}),
        ("order", "A", "other", {"order": ("n",)}),
        ("order", "A", "", {}),
        ("order", "A", "", {"order": ("m",)}),
        ("ancestor", "A", "", {"filter": where("__key__", HAS_ANCESTOR, key("P", 2))}),
        ("filter", "A", "", {"filter": where("n", LESS, 2), "order": ("n",)}),
    ],
)
@pytest.mark.parametrize("end", ["start_cursor", "end_cursor"])
def test_a_cursor_of_another_query_is_refused(
    raw: RawClient, made_by: str, kind: str, namespace: str, used_by: Any, end: str
) -> None:
    """Another kind, namespace, ancestor, order or range is an error, not no results."""
    raw.upsert(
        *(entity(key("P", 1, "A", n), n=n, m=n) for n in range(1, 5)),
        *(entity(key("P", 2, "A", n), n=n, m=n) for n in range(1, 5)),
    )
    cursor = raw.run("A", limit=1, **OF_A_QUERY[made_by]).end_cursor
    assert raw.run("A", **OF_A_QUERY[made_by], **{end: cursor}).entity_results
    code, _ = raw.run_error(kind, namespace, **used_by, **{end: cursor})
    assert code == INVALID


def test_a_cursor_of_another_database_is_refused(raw: RawClient) -> None:
    """Each database has its own cursors."""
    raw.upsert(entity(key("A", 1)))
    cursor = raw.run("A").end_cursor
    code, _ = raw.error(
        "RunQuery",
        database_id="second",
        query={"kind": [{"name": "A"}], "start_cursor": cursor},
    )
    assert code == INVALID


def test_a_cursor_fits_a_query_of_all_kinds(raw: RawClient) -> None:
    """A key that a kindless query finds may be of any kind."""
    raw.upsert(entity(key("A", 1)), entity(key("B", 1)))
    cursor = raw.run("A").end_cursor
    assert shown(raw.run(start_cursor=cursor)) == [((("B", 1),), {})]
