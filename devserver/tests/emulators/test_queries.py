"""The same random entities and queries here and on Google's emulators.

The Firestore emulator has every form of query, and decides which ones are valid. The
tests leave out where it differs from the service:

- It sometimes fails with UNKNOWN, without a reason.
- It returns an entity once for each value of a list that matches. So its repeated
  entities count once, and queries of lists have no limit and no offset.
- With IN or OR, it sorts an entity by any value of a list, even one that no filter
  accepts. So such queries of lists have no order but the key.
- If the last order is descending, it breaks ties in descending order, the bundled API
  in ascending order. So every order ends with the key, and with single values of
  lists, which are not unique, in ascending order.
- It has no metadata kinds, and no index entry for an empty list.

The Datastore emulator has no OR, IN, NOT_IN, != and aggregations, and inequalities on
one property only, as Datastore had. The tests leave out where it differs:

- It fails with UNKNOWN too.
- It sorts no results of a filter on a whole key, so it ignores that an entity without
  a property of the order is not found.
- After the last result it still answers MORE_RESULTS_AFTER_LIMIT.
- With distinct_on but without a projection, it returns an entity once; the Firestore
  emulator returns it once for each combination of values.
"""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.emulators import strategies
from tests.emulators.answers import (
    UNKNOWN,
    Answer,
    Result,
    aggregated,
    answer,
    new_namespace,
    pages,
)
from tests.emulators.strategies import columns
from tests.helpers.datastore_v1 import RawClient

KINDS = st.sampled_from(["K"] * 8 + ["L", None])
SEVERAL = range(4)
"""Queries for each group of entities, which take longer to store than to find."""


def without_repeats(results: list[Result]) -> list[Result]:
    """Return each result once, where it comes first."""
    return [item for at, item in enumerate(results) if item not in results[:at]]


@given(st.data(), st.booleans())
def test_any_query(
    raw: RawClient, firestore: RawClient, data: st.DataObject, with_lists: bool
) -> None:
    """The same entities in the same order, and the same states of the query.

    A query that is invalid there is invalid here, with the same status.
    """
    namespace = new_namespace()
    made = data.draw(strategies.entities(namespace, with_lists=with_lists))
    raw.upsert(*made)
    firestore.upsert(*made)
    for _ in SEVERAL:
        kind = data.draw(KINDS)
        query = data.draw(strategies.queries(namespace, of_lists=with_lists))
        expected = answer(firestore, kind, namespace, query)
        if expected is UNKNOWN:
            continue
        if with_lists and isinstance(expected, Answer) and not columns(query):
            once = without_repeats(expected.results)
            expected = expected._replace(results=once)
        found = answer(raw, kind, namespace, query)
        assert found == expected, query


@given(st.data(), st.booleans())
@settings(max_examples=settings().max_examples // 2)
def test_classic_query(
    raw: RawClient, emulator: RawClient, data: st.DataObject, with_lists: bool
) -> None:
    """The same entities in the same order, also for queries of lists with a limit."""
    namespace = new_namespace()
    made = data.draw(strategies.entities(namespace, with_lists=with_lists))
    raw.upsert(*made)
    emulator.upsert(*made)
    for _ in SEVERAL:
        query = data.draw(strategies.classic_queries(namespace))
        expected = answer(emulator, "K", namespace, query)
        if expected is UNKNOWN:
            continue
        found = answer(raw, "K", namespace, query)
        if isinstance(found, Answer) and isinstance(expected, Answer):
            expected = expected._replace(more=found.more)
        assert found == expected, query


@given(st.data(), st.integers(1, 3))
@settings(max_examples=settings().max_examples // 2)
def test_pages(
    raw: RawClient,
    firestore: RawClient,
    emulator: RawClient,
    data: st.DataObject,
    size: int,
) -> None:
    """Pages from the end cursors have the same results, which are all of the query."""
    namespace = new_namespace()
    made = data.draw(strategies.entities(namespace, with_lists=False))
    query = data.draw(strategies.classic_queries(namespace))
    query.pop("limit", None)
    for client in (raw, firestore, emulator):
        client.upsert(*made)
    expected = answer(firestore, "K", namespace, query)
    if expected is UNKNOWN:
        return
    assert isinstance(expected, Answer)
    found = pages(raw, "K", namespace, query, size)
    assert [result for page in found for result in page] == expected.results
    assert found == pages(firestore, "K", namespace, query, size)
    assert found == pages(emulator, "K", namespace, query, size)


@given(st.data())
def test_aggregations(
    raw: RawClient, firestore: RawClient, data: st.DataObject
) -> None:
    """The same counts, sums and averages, under the same names."""
    namespace = new_namespace()
    made = data.draw(strategies.entities(namespace, with_lists=False))
    raw.upsert(*made)
    firestore.upsert(*made)
    for _ in SEVERAL:
        query = data.draw(strategies.queries(namespace))
        asked = data.draw(strategies.aggregations)
        # It counts even the results of a query that it refuses to run.
        expected = answer(firestore, "K", namespace, query)
        if isinstance(expected, Answer):
            expected = aggregated(firestore, namespace, query, asked)
        if expected is not UNKNOWN:
            found = aggregated(raw, namespace, query, asked)
            assert found == expected, (query, asked)


@given(st.data(), st.sampled_from(["__kind__", "__property__"]))
def test_metadata(
    raw: RawClient, emulator: RawClient, data: st.DataObject, kind: str
) -> None:
    """The same kinds and properties, with the same representations."""
    namespace = new_namespace()
    made = data.draw(
        strategies.entities(namespace, with_lists=data.draw(st.booleans()))
    )
    raw.upsert(*made)
    emulator.upsert(*made)
    query = data.draw(strategies.metadata_queries(namespace, kind))
    expected = answer(emulator, kind, namespace, query)
    found = answer(raw, kind, namespace, query)
    if isinstance(found, Answer) and isinstance(expected, Answer):
        expected = expected._replace(more=found.more)
    assert found == expected, query
