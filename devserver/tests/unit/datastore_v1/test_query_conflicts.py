"""What a query in a transaction has read: only a change of that is a conflict."""

from typing import Any

import grpc
import pytest

from tests.helpers.datastore_v1 import (
    EQUAL,
    GREATER_OR_EQUAL,
    HAS_ANCESTOR,
    OR,
    RawClient,
    combine,
    entity,
    ids,
    key,
    query_fields,
    where,
)

P1 = where("p", EQUAL, 1)
ONE_OR_FIVE = combine(OR, P1, where("p", EQUAL, 5))
FROM_M = where("__key__", GREATER_OR_EQUAL, key("__kind__", "M"))
BELOW = where("__key__", HAS_ANCESTOR, key("K", 1))


def put(number: int, *, kind: str = "K", parent: Any = (), **properties: Any) -> Any:
    """Return a mutation."""
    return {"upsert": entity(key(*parent, kind, number), **properties)}


def delete(number: int, kind: str = "K") -> Any:
    """Return a mutation."""
    return {"delete": key(kind, number)}


@pytest.fixture
def raw(raw: RawClient) -> RawClient:
    """A client of a datastore with K 1, 3 and 5, each with its id in p, and L 1."""
    raw.commit(*(put(n, p=n, g=n // 3) for n in (1, 3, 5)), put(1, kind="L"))
    return raw


def begin(raw: RawClient) -> dict[str, bytes]:
    """Begin a transaction and return it as read options."""
    options: Any = {"read_write": {}}
    answer = raw.call("BeginTransaction", transaction_options=options)
    return {"transaction": answer.transaction}


def committed(raw: RawClient, options: dict[str, bytes], *mutations: Any) -> bool:
    """Return whether a transaction can commit; if not, it must be aborted."""
    try:
        raw.commit(*mutations or [put(1, kind="X")], **options)
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.ABORTED:
            raise
        return False
    return True


PAGES: dict[str, dict[str, Any]] = {
    "equal": {"filter": P1},
    "either": {"filter": ONE_OR_FIVE},
    "first": {"order": ("p",), "limit": 1},
    "last": {"order": ("-p",), "limit": 1},
    "second": {"order": ("p",), "limit": 1, "offset": 1},
    "all": {"order": ("p",), "limit": 4},
    "below": {"filter": BELOW},
    "groups": {"order": ("g",), "projection": ("g",), "distinct": ("g",), "limit": 1},
    "none": {"limit": 0},
    "skip-two": {"limit": 0, "offset": 2},
    "skip-all": {"limit": 0, "offset": 9},
    "skip-nothing": {"filter": where("p", EQUAL, 7), "limit": 0, "offset": 9},
}


@pytest.mark.parametrize("keys_only", [False, True], ids=["", "keys"])
@pytest.mark.parametrize(
    ("page", "change", "is_seen"),
    [
        ("equal", put(7, p=7), False),
        ("equal", put(7), False),
        ("equal", put(7, kind="L", p=1), False),
        ("equal", put(3, p=4), False),
        ("equal", delete(3), False),
        ("equal", put(7, p=1), True),
        ("equal", put(7, p=[9, 1]), True),
        ("equal", put(3, p=1), True),
        ("equal", put(1, p=1, n=2), True),
        ("equal", put(1, p=2), True),
        ("equal", delete(1), True),
        ("either", put(7, p=3), False),
        ("either", put(7, p=5), True),
        ("first", put(7, p=2), False),
        ("first", put(7), False),
        ("first", delete(5), False),
        ("first", put(7, p=0), True),
        ("first", put(5, p=0), True),
        ("first", put(7, p=[9, 0]), True),
        ("first", put(1, p=9), True),
        ("last", put(7, p=4), False),
        ("last", put(7, p=[6, 0]), True),
        ("second", put(7, p=4), False),
        ("second", put(7, p=0), True),
        ("all", put(7, p=9), True),
        ("below", put(3, p=4), False),
        ("below", put(2, parent=("K", 2)), False),
        ("below", put(2, parent=("K", 1)), True),
        ("groups", put(7, g=1), False),
        ("groups", put(7, g=0), False),
        ("groups", put(7, g=-1), True),
        ("none", put(7), False),
        ("skip-two", put(7), False),
        ("skip-two", put(2), True),
        ("skip-all", put(7), True),
        ("skip-all", delete(3), True),
        ("skip-nothing", put(7, p=7), True),
    ],
)
def test_a_change_that_a_query_could_have_seen_aborts(
    raw: RawClient, page: str, change: Any, is_seen: bool, keys_only: bool
) -> None:
    """Those of other entities, and behind the last result that was read, do not."""
    query = dict(PAGES[page])
    if keys_only and "projection" not in query:
        query["projection"] = ("__key__",)
    options = begin(raw)
    raw.run("K", read_options=options, **query)
    raw.commit(change)
    assert committed(raw, options) != is_seen


@pytest.mark.parametrize(
    ("change", "is_seen"),
    [
        (put(7, p=0), False),
        (put(7, p=2), True),
        (put(7, p=4), False),
        (put(3, p=6), True),
        (put(5, p=2), True),
    ],
)
@pytest.mark.parametrize("ended_by", ["limit", "cursor"])
def test_a_page_between_cursors(
    raw: RawClient, ended_by: str, change: Any, is_seen: bool
) -> None:
    """A query that starts at a cursor has not read what is before it."""
    cursors = [each.cursor for each in raw.run("K", order=("p",)).entity_results]
    end = {"limit": 1} if ended_by == "limit" else {"end_cursor": cursors[1]}
    options = begin(raw)
    start = cursors[0]
    page = raw.run("K", order=("p",), start_cursor=start, read_options=options, **end)
    assert ids(page) == [3]
    raw.commit(change)
    assert committed(raw, options) != is_seen


def test_a_result_before_a_cursor_that_hides_one_after_it(raw: RawClient) -> None:
    """A query for different values has also seen what is before its start."""
    query: Any = {"distinct": ("g",), "order": ("g", "p"), "projection": ("g", "p")}
    raw.commit(put(9, g=1, p=4))
    _, last = raw.run("K", **query).entity_results
    options = begin(raw)
    page = raw.run("K", start_cursor=last.cursor, read_options=options, **query)
    assert ids(page) == []
    raw.commit(delete(3))
    assert not committed(raw, options)


@pytest.mark.parametrize(
    ("query", "change", "is_seen"),
    [
        ({"filter": P1}, put(7, p=7), False),
        ({"filter": P1}, put(7, p=1), True),
        ({"order": ("p",), "limit": 2}, put(7, p=4), False),
        ({"order": ("p",), "limit": 2}, put(7, p=2), True),
        ({"order": ("p",), "limit": 9}, delete(5), True),
    ],
)
def test_an_aggregation_has_read_its_results(
    raw: RawClient, query: Any, change: Any, is_seen: bool
) -> None:
    """A count or a sum in a transaction is a read like others."""
    fields = query_fields("K", **query)
    sums = [{"count": {}}, {"sum": {"property": {"name": "p"}}}]
    asked = {"nested_query": fields.pop("query"), "aggregations": sums}
    options = begin(raw)
    fields |= {"aggregation_query": asked, "read_options": options}
    raw.call("RunAggregationQuery", **fields)
    raw.commit(change)
    assert committed(raw, options) != is_seen


@pytest.mark.parametrize(
    ("kind", "query", "change", "is_seen"),
    [
        (None, {}, put(7, kind="N"), True),
        (None, {}, delete(1, kind="L"), True),
        (None, {"limit": 1}, put(2, kind="L"), False),
        (None, {"limit": 1}, put(1, kind="A"), True),
        (None, {"filter": BELOW}, put(7, kind="N"), False),
        (None, {"filter": BELOW}, put(7, kind="N", parent=("K", 1)), True),
        ("__kind__", {}, put(7, kind="N"), True),
        ("__kind__", {"filter": FROM_M}, put(7, kind="N"), True),
        ("__kind__", {}, delete(1, kind="L"), True),
        ("__x", {}, put(7, kind="N"), False),
        ("__x", {}, put(7, kind="__x"), True),
        ("__property__", {}, put(7, new=1), True),
    ],
)
def test_a_query_of_many_kinds(
    raw: RawClient, kind: Any, query: Any, change: Any, is_seen: bool
) -> None:
    """A query without a kind has read all kinds, one of metadata everything."""
    options = begin(raw)
    raw.run(kind, read_options=options, **query)
    raw.commit(change)
    assert committed(raw, options) != is_seen


def test_a_write_skew_through_a_query(raw: RawClient) -> None:
    """Of two that insert if a query finds nothing, one is aborted."""
    nothing: Any = {"filter": where("p", EQUAL, 7)}
    first, second = begin(raw), begin(raw)
    for options in (first, second):
        assert ids(raw.run("K", read_options=options, **nothing)) == []
    assert committed(raw, first, put(7, p=7))
    assert not committed(raw, second, put(8, p=7))
    assert ids(raw.run("K", **nothing)) == [7]


def test_an_own_read_after_a_phantom_is_aborted(raw: RawClient) -> None:
    """A transaction never sees two states: its next read fails."""
    options = begin(raw)
    assert ids(raw.run("K", filter=P1, read_options=options)) == [1]
    raw.commit(put(7, p=7))
    assert ids(raw.run("K", filter=ONE_OR_FIVE, read_options=options)) == [1, 5]
    raw.commit(put(5, p=6))
    fields = query_fields("L", read_options=options)
    assert raw.error("RunQuery", **fields)[0] == grpc.StatusCode.ABORTED
