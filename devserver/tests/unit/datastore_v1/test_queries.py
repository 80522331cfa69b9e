"""Queries through Cloud NDB and as bare requests: filters, orders, pages, metadata."""

# the models of a library without types
# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False

import datetime
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.appengine.datastore import datastore_pb
from google.cloud import ndb
from google.cloud.ndb import metadata

from gae_devserver.datastore_v1.limits import Limits
from tests.helpers.calls import APP_ID
from tests.helpers.datastore_v1 import (
    AND,
    EQUAL,
    GREATER,
    HAS_ANCESTOR,
    IN,
    LESS,
    NOT_EQUAL,
    NOT_IN,
    OR,
    RawClient,
    combine,
    entity,
    ids,
    key,
    point,
    timestamp,
    user,
    value,
    where,
)
from tests.helpers.running_datastore import RunningDatastore

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FINISHED, AFTER_LIMIT, NO_MORE, AFTER_CURSOR = 1, 2, 3, 4
COLORS = ("red", "green", "blue")


class Item(ndb.Model):
    """The kind of most queries."""

    n = ndb.IntegerProperty()
    color = ndb.StringProperty()
    tags = ndb.StringProperty(repeated=True)
    day = ndb.DateTimeProperty()


def day(number: int) -> datetime.datetime:
    """Return a day in January 2020."""
    return datetime.datetime(2020, 1, number)


@pytest.fixture
def items(context: Any) -> list[Item]:
    """Ten items with n from 0 to 9; the order of their keys is another one."""
    items = [
        Item(
            id=f"{(7 * n) % 10}",
            n=n,
            color=COLORS[n % 3],
            tags=[COLORS[n % 3], COLORS[(n + 1) % 3]],
            day=day(n + 1),
        )
        for n in range(10)
    ]
    ndb.put_multi(items)
    return items


def numbers(found: Any) -> list[int]:
    """Return n of each result."""
    return [item.n for item in found]


# --- filters and orders --------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("n = 3", [3]),
        ("n = 77", []),
        ("n < 3", [0, 1, 2]),
        ("n <= 3", [0, 1, 2, 3]),
        ("n > 7", [8, 9]),
        ("n >= 7", [7, 8, 9]),
        ("n > 2 AND n < 5", [3, 4]),
        ("n != 3", [0, 1, 2, 4, 5, 6, 7, 8, 9]),
        ("n NOT IN (1, 3, 5)", [0, 2, 4, 6, 7, 8, 9]),
        ("n IN (5, 1, 5) ORDER BY n", [1, 5]),
        ("color = 'red' ORDER BY n", [0, 3, 6, 9]),
        ("color = 'red' ORDER BY n DESC", [9, 6, 3, 0]),
        ("color = 'red' AND n > 3", [6, 9]),
        ("tags = 'red' ORDER BY n DESC", [9, 8, 6, 5, 3, 2, 0]),
        ("tags = 'red' AND tags = 'blue' ORDER BY n", [2, 5, 8]),
        ("n > -1 ORDER BY n DESC", [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
        ("n >= 0 ORDER BY color, n DESC", [8, 5, 2, 7, 4, 1, 9, 6, 3, 0]),
        ("n >= 0 ORDER BY color DESC, n", [0, 3, 6, 9, 1, 4, 7, 2, 5, 8]),
        ("color > '' ORDER BY color, n DESC", [8, 5, 2, 7, 4, 1, 9, 6, 3, 0]),
        ("day > DATETIME(2020, 1, 9)", [9]),
        ("day = DATETIME(2020, 1, 4)", [3]),
    ],
)
def test_a_query_finds_what_it_asks_for(
    items: list[Item], query: str, expected: list[int]
) -> None:
    """A comparison or a set gives its results in the order of the query."""
    found = Item.gql(f"WHERE {query}")
    assert numbers(found.fetch()) == expected
    assert found.count() == len(expected)
    assert numbers(found.iter(limit=2)) == expected[:2]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"order": ("t",)}, [1, 2, 3]),
        ({"order": ("-t",)}, [1, 2, 3]),
        ({"filter": where("t", GREATER, 1)}, [2, 3, 1]),
        ({"filter": where("t", NOT_EQUAL, 3)}, [1, 2]),
        ({"filter": where("t", NOT_IN, [1, 2, 3])}, [2, 1]),
        ({"filter": where("t", IN, [1, 5, 3])}, [1, 3]),
        ({"filter": combine(AND, where("t", GREATER, 3), where("t", LESS, 5))}, [2]),
    ],
    ids=["up", "down", "greater", "not-equal", "not-in", "in", "between"],
)
def test_one_entity_is_one_result_whatever_its_list_has(
    raw: RawClient, query: Any, expected: list[int]
) -> None:
    """A list of which several values match gives one result, at the first of them."""
    raw.upsert(
        entity(key("A", 1), t=[1, 5]),
        entity(key("A", 2), t=[2, 4]),
        entity(key("A", 3), t=[3]),
    )
    assert ids(raw.run("A", **query)) == expected


def test_values_of_all_types_have_one_order(raw: RawClient) -> None:
    """Null, numbers and times, booleans, bytes and text, doubles, users, keys.

    An entity without the property, or with an excluded value, is not found.
    """
    in_order = [
        value(None),
        value(-5),
        timestamp(1),
        value(2**62),
        value(False),
        value(True),
        value(""),
        value("a"),
        value(b"b"),
        value("\uffff"),
        value(b"\xff"),
        value(float("-inf")),
        value(-0.5),
        value(0.5),
        value(float("nan")),
        point(1, 2),
        user("a@b"),
        value(key("K", 2)),
        value(key("K", 2, "K", 1)),
        value(key("K", "1")),
    ]
    mixed = [
        entity(key("A", (number * 7) % 20 + 1), p=content)
        for number, content in enumerate(in_order)
    ]
    excluded = entity(key("A", 50), p=value(1, exclude_from_indexes=True))
    raw.upsert(*mixed, excluded, entity(key("A", 51)))
    expected = [entity.key.path[0].id for entity in mixed]
    assert ids(raw.run("A", order=("p",))) == expected
    assert ids(raw.run("A", order=("-p",))) == expected[::-1]
    for place, content in enumerate(in_order):
        found = [
            ids(raw.run("A", filter=where("p", operator, content)))
            for operator in (LESS, EQUAL, GREATER)
        ]
        assert found == [expected[:place], [expected[place]], expected[place + 1 :]]


def test_parts_of_embedded_entities_are_found(raw: RawClient) -> None:
    """A filter or order names a part of any depth, unless the whole is not indexed."""
    small, large = (entity(None, inner=entity(None, n=n)) for n in (1, 5))
    raw.upsert(
        entity(key("A", 1), part=large),
        entity(key("A", 2), part=[small, large]),
        entity(key("A", 3), part=value(large, exclude_from_indexes=True)),
    )
    assert ids(raw.run("A", filter=where("part.inner.n", EQUAL, 5))) == [1, 2]
    assert ids(raw.run("A", order=("part.inner.n",))) == [2, 1]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (
            {"filter": combine(AND, where("b", GREATER, 0), where("a", GREATER, 2))},
            [3, 5, 7, 9],
        ),
        (
            {"filter": combine(OR, where("a", LESS, 2), where("a", GREATER, 7))},
            [0, 1, 8, 9],
        ),
        (
            {
                "filter": combine(
                    AND,
                    combine(OR, where("a", EQUAL, 2), where("b", EQUAL, 1)),
                    combine(OR, *(where("a", EQUAL, n) for n in (2, 3, 4))),
                ),
                "order": ("a",),
            },
            [2, 3],
        ),
        ({"filter": where("a", GREATER, 7), "order": ("b",)}, [8, 9]),
        ({"filter": where("__key__", EQUAL, key("A", 3))}, [7]),
        (
            {
                "filter": combine(
                    AND,
                    where("a", GREATER, 7),
                    where("__key__", NOT_EQUAL, key("A", 2)),
                )
            },
            [9],
        ),
    ],
    ids=["two-properties", "or", "and-or", "another-order", "key", "not-key"],
)
def test_inequalities_and_alternatives(
    raw: RawClient, query: Any, expected: list[int]
) -> None:
    """Properties with inequalities follow the query's order; each result is once."""
    raw.upsert(*(entity(key("A", 10 - n), a=n, b=n % 2) for n in range(10)))
    found = raw.run("A", **query).entity_results
    assert [r.entity.properties["a"].integer_value for r in found] == expected


def test_ancestors_and_all_kinds(context: Any) -> None:
    """A query may be below a key, with or without a kind, or over everything."""
    root, other = ndb.Key("Root", "r"), ndb.Key("Root", "s")
    Item(id=1, parent=root, n=1).put()
    Item(id=2, parent=ndb.Key("Mid", 1, parent=root), n=2).put()
    Item(id=3, parent=other, n=3).put()
    Item(id=4, n=4).put()

    class Mid(ndb.Model):
        pass

    Mid(id=1, parent=root).put()
    assert numbers(Item.query(ancestor=root).order(Item.n)) == [1, 2]
    assert numbers(Item.query(ancestor=root).order(-Item.n)) == [2, 1]
    assert numbers(Item.query(Item.n > 1, ancestor=root)) == [2]
    assert numbers(Item.query(ancestor=ndb.Key(Item, 4))) == [4]
    below = [found.kind() for found in ndb.Query(ancestor=root).fetch(keys_only=True)]
    assert below == ["Item", "Mid", "Item"]
    everything = ndb.Query().fetch(keys_only=True)
    assert len(everything) == 5
    assert everything == sorted(everything, key=lambda key: key.flat())
    rest = ndb.Query(filters=ndb.FilterNode("__key__", ">", everything[2]))
    assert rest.fetch(keys_only=True) == everything[3:]


# --- projections ---------------------------------------------------------------------


def test_projections(items: list[Item]) -> None:
    """A projection returns only the projected values, each with its type."""
    found = Item.query().order(-Item.n).fetch(2, projection=["n", "day"])
    assert [(item.n, item.day) for item in found] == [(9, day(10)), (8, day(9))]
    with pytest.raises(ndb.UnprojectedPropertyError):
        _ = found[0].color
    assert found[0].key == items[9].key
    either = Item.query(ndb.OR(Item.color == "red", Item.color == "blue"))
    assert numbers(either.order(-Item.n).fetch(3, projection=["n"])) == [9, 8, 6]
    keys = either.order(-Item.n).fetch(3, keys_only=True)
    assert keys == [items[n].key for n in (9, 8, 6)]


def test_a_projected_user_has_no_other_id(raw: RawClient) -> None:
    """The index has the id that the bundled API synthesizes for a user without one."""
    raw.upsert(entity(key("A", 1), u=user("a@b")), entity(key("A", 2), u=user("b@b")))
    found = raw.run("A", projection=("u",)).entity_results
    users = [result.entity.properties["u"].entity_value for result in found]
    assert [sorted(one.properties) for one in users] == [["auth_domain", "email"]] * 2


def test_distinct(items: list[Item]) -> None:
    """A distinct query returns the first result of each value, also across pages."""
    query = Item.query(projection=["color"], distinct=True)
    assert [item.color for item in query] == ["blue", "green", "red"]
    columns = Item.query(projection=["color", "n"], distinct_on=["color"])
    query = columns.order(Item.color, -Item.n)
    found = [(item.color, item.n) for item in query]
    assert found == [("blue", 8), ("green", 7), ("red", 9)]
    page, cursor, more = query.fetch_page(2)
    assert (numbers(page), more) == ([8, 7], True)
    page, _, more = query.fetch_page(2, start_cursor=cursor)
    assert (numbers(page), more) == ([9], False)


# --- pages and cursors ---------------------------------------------------------------

SIZES = {"small": 100, "large": 1510}
"""Namespaces of the catalog and their entities.

With more than 500 candidates, and more than 300 results, a query takes other paths:
it scans an index in order, and its results come in batches.
"""


@pytest.fixture(scope="module")
def catalog() -> Iterator[RunningDatastore]:
    """A server with many items, of which many are equal in something."""
    running = RunningDatastore()
    raw = RawClient(running.host)
    for namespace, size in SIZES.items():
        made = [
            entity(
                key("Item", (37 * n) % size + 1, namespace=namespace),
                n=n % 10,
                color=COLORS[n % 3],
                tags=[COLORS[n % 3], COLORS[(n // 2) % 3]],
            )
            for n in range(size)
        ]
        for start in range(0, size, 500):
            raw.upsert(*made[start : start + 500])
    raw.close()
    yield running
    running.stop()


@pytest.fixture(params=SIZES)
def size(catalog: RunningDatastore, request: pytest.FixtureRequest) -> Iterator[int]:
    """The number of items, in a context of Cloud NDB."""
    client = catalog.client(namespace=request.param)
    with client.context(cache_policy=False):
        yield SIZES[request.param]
    client.stub.close()


QUERIES = {
    "key": Item.query,
    "key-down": lambda: Item.query().order(-Item._key),
    "equal": lambda: Item.query(Item.color == "red"),
    "less": lambda: Item.query(Item.n < 90),
    "down": lambda: Item.query().order(-Item.n),
    "equal-down": lambda: Item.query(Item.tags == "blue").order(-Item.n),
    "list": lambda: Item.query().order(Item.tags),
    "list-down": lambda: Item.query(Item.tags > "a").order(-Item.tags),
    "two": lambda: Item.query().order(Item.color, -Item.n),
    "not": lambda: Item.query(Item.color != "green"),
    "in": lambda: Item.query(Item.color.IN(["red", "blue"], server_op=True)),
    "list-projected": lambda: Item.query(projection=["tags"]),
    "equal-projected": lambda: Item.query(Item.color == "red", projection=["tags"]),
    "less-projected": lambda: Item.query(Item.n < 6, projection=["tags"]).order(
        Item.tags
    ),
    "down-projected": lambda: Item.query(projection=["n"]).order(-Item.n, -Item._key),
}


def identities(found: Any) -> list[Any]:
    """Return what tells results apart: the key and the values."""
    return [(item.key.id(), item.to_dict()) for item in found]


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_pages_join_without_gap_or_overlap(size: int, query: Any) -> None:
    """All pages together are the results of the whole query, up to any end cursor."""
    expected = identities(query().fetch())
    assert len(expected) > size // 4
    found: list[Any] = []
    last: Any = None
    more = True
    while more:
        page, cursor, more = query().fetch_page(size // 5, start_cursor=last)
        found += identities(page)
        if cursor:
            last = ndb.Cursor(urlsafe=cursor.urlsafe())
            tail = query().fetch(3, start_cursor=last, offset=2)
            assert identities(tail) == expected[len(found) + 2 : len(found) + 5]
        if len(found) == len(page):
            assert identities(query().fetch(end_cursor=last)) == found
    assert found == expected
    assert query().fetch_page(7, start_cursor=last) == ([], None, False)


@pytest.mark.parametrize(
    ("query", "forth", "back"),
    [
        (Item.query, [Item._key], [-Item._key]),
        (QUERIES["equal"], [Item._key], [-Item._key]),
        (Item.query, [Item.n, Item._key], [-Item.n, -Item._key]),
        (
            lambda: Item.query(Item.tags == "blue"),
            [Item.n, -Item._key],
            [-Item.n, Item._key],
        ),
        (
            QUERIES["in"],
            [-Item.color, Item.n, Item._key],
            [Item.color, -Item.n, -Item._key],
        ),
    ],
    ids=["key", "equal", "one", "key-down", "several"],
)
def test_a_cursor_works_in_the_reversed_order(
    size: int, query: Any, forth: Any, back: Any
) -> None:
    """The results before a cursor come after it when the order is reversed."""
    for orders, reversed_orders in ((forth, back), (back, forth)):
        ordered, reverse = query().order(*orders), query().order(*reversed_orders)
        expected = identities(ordered.fetch())
        place = size // 9
        _, cursor, _ = ordered.fetch_page(place)
        before, after = expected[:place][::-1], expected[place:][::-1]
        assert identities(reverse.fetch(start_cursor=cursor)) == before
        assert identities(reverse.fetch(end_cursor=cursor)) == after


def test_a_cursor_outlives_its_entity(items: list[Item]) -> None:
    """A page continues in the right place after its cursor's entity was deleted."""
    query = Item.query().order(Item.n)
    _, cursor, _ = query.fetch_page(4)
    items[3].key.delete()
    # It has the n of the deleted item and a larger key, so it comes after the cursor.
    Item(id="new", n=3, color="x").put()
    items[5].n = 100
    items[5].put()
    rest, _, _ = query.fetch_page(20, start_cursor=cursor)
    assert numbers(rest) == [3, 4, 6, 7, 8, 9, 100]


def test_batches_say_whether_there_is_more(raw: RawClient) -> None:
    """There may be more after a limit or an end cursor, but not at the end."""
    raw.upsert(*(entity(key("A", n)) for n in range(1, 6)))
    first = raw.run("A", limit=2)
    assert (ids(first), first.more_results) == ([1, 2], AFTER_LIMIT)
    assert first.end_cursor == first.entity_results[1].cursor
    rest = raw.run("A", limit=3, start_cursor=first.end_cursor)
    assert (ids(rest), rest.more_results) == ([3, 4, 5], NO_MORE)
    none = raw.run("A", start_cursor=rest.end_cursor)
    assert (ids(none), none.more_results) == ([], NO_MORE)
    assert none.end_cursor == rest.end_cursor
    cut = raw.run("A", end_cursor=first.end_cursor)
    assert (ids(cut), cut.more_results) == ([1, 2], AFTER_CURSOR)
    skipped = raw.run("A", offset=4, limit=3)
    assert (skipped.skipped_results, ids(skipped)) == (4, [5])
    beyond = raw.run("A", offset=9)
    assert (beyond.skipped_results, beyond.more_results) == (5, NO_MORE)
    assert beyond.skipped_cursor == beyond.end_cursor == rest.end_cursor
    assert (ids(raw.run("A", limit=0)), ids(raw.run("None"))) == ([], [])
    assert raw.run("None", limit=0).more_results == AFTER_LIMIT


@pytest.mark.parametrize("order", [(), ("__key__",), ("-__key__",)])
def test_alternatives_with_inequalities(raw: RawClient, order: tuple[str, ...]) -> None:
    """An entity needs all properties that have an inequality in any alternative."""
    raw.upsert(
        entity(key("A", 1), a=1, b=1),
        entity(key("A", 2), a=1),
        entity(key("A", 3), b=2),
    )
    either = combine(OR, where("a", EQUAL, 1), where("b", GREATER, 0))
    same = combine(OR, where("a", GREATER, 0), where("b", GREATER, 0))
    assert sorted(ids(raw.run("A", filter=either, order=order))) == [1, 3]
    assert ids(raw.run("A", filter=same, order=order)) == [1]


def test_a_batch_has_the_version_of_its_snapshot(raw: RawClient) -> None:
    """It is not before the last change, and in a snapshot it stays."""
    raw.upsert(entity(key("A", 1)))
    options: Any = {"new_transaction": {"read_only": {}}}
    first = raw.call("RunQuery", read_options=options, query={"kind": [{"name": "A"}]})
    seen = first.batch.snapshot_version
    assert seen >= first.batch.entity_results[0].version
    raw.upsert(entity(key("A", 2)))
    assert raw.run("A").snapshot_version > seen
    again = raw.run("A", read_options={"transaction": first.transaction})
    assert (ids(again), again.snapshot_version) == ([1], seen)


@pytest.mark.parametrize(
    ("running", "most"),
    [(Limits(batch_results=15), 15), (Limits(batch_bytes=0), 1)],
    ids=["count", "bytes"],
    indirect=["running"],
)
def test_long_results_come_in_batches(raw: RawClient, context: Any, most: int) -> None:
    """A batch has a limit of results and of bytes."""
    raw.upsert(*(entity(key("Item", n), n=n, pad="x" * 400) for n in range(1, 41)))
    first = raw.run("Item")
    assert (len(ids(first)), first.more_results) == (most, NOT_FINISHED)
    assert numbers(Item.query(Item.n > 2).order(-Item.n)) == list(range(40, 2, -1))
    assert numbers(Item.query().fetch(20, offset=18)) == list(range(19, 39))
    assert Item.query().count() == 40


# --- metadata ------------------------------------------------------------------------


def test_metadata_lists_namespaces_kinds_and_properties(client: ndb.Client) -> None:
    """Metadata queries list what is stored, within a range, and nothing deleted."""

    class Other(ndb.Model):
        text = ndb.TextProperty()
        mixed = ndb.GenericProperty()

    with client.context(cache_policy=False):
        Item(id=1, n=1, tags=["a"]).put()
        Other(id=1, mixed="x", text="y").put()
        Other(id=2, mixed=1).put()
        Other(id=3, namespace="other").put()
        Item(id=2, namespace="gone").put().delete()
        assert metadata.get_kinds() == ["Item", "Other"]
        assert metadata.get_kinds(start="J", end="Z") == ["Other"]
        assert metadata.get_namespaces() == ["", "other"]
        assert metadata.get_namespaces(start="a") == ["other"]
        assert metadata.get_properties_of_kind("Item") == ["color", "day", "n", "tags"]
        part = metadata.get_properties_of_kind("Item", start="d", end="o")
        assert part == ["day", "n"]
        representations = metadata.get_representations_of_kind("Other")
        assert representations == {"mixed": ["INT64", "STRING"]}
        assert [kind.kind_name for kind in metadata.Kind.query()] == ["Item", "Other"]
        found = metadata.Property.query().fetch(keys_only=True)
        assert [f"{key.parent().id()}.{key.id()}" for key in found] == [
            "Item.color",
            "Item.day",
            "Item.n",
            "Item.tags",
            "Other.mixed",
        ]
    with client.context(cache_policy=False, namespace="other"):
        assert metadata.get_kinds() == ["Other"]


@pytest.mark.parametrize("kind", ["__namespace__", "__kind__", "__property__"])
@pytest.mark.parametrize(
    "query",
    [
        {"filter": where("a", EQUAL, 1)},
        {"filter": where("__key__", NOT_EQUAL, key("__kind__", "A"))},
        {"order": ("property_representation",)},
        {"order": ("-__key__",)},
        {"projection": ("property_representation",)},
        {"distinct": ("property_representation",)},
    ],
    ids=["filter", "not-equal", "order", "descending", "projection", "distinct"],
)
def test_metadata_is_found_by_key_alone(
    raw: RawClient, kind: str, query: dict[str, Any]
) -> None:
    """Another filter or order on a metadata kind is refused, as by the service."""
    raw.upsert(entity(key("A", 1), a=1))
    assert raw.run_error(kind, **query)[0] == INVALID


def test_metadata_below_a_kind(raw: RawClient) -> None:
    """Only properties have an ancestor: their kind."""
    raw.upsert(entity(key("A", 1), a=1), entity(key("B", 1), b=1))
    below = where("__key__", HAS_ANCESTOR, key("__kind__", "B"))
    assert ids(raw.run("__property__", filter=below)) == ["b"]
    for kind in ("__kind__", "__namespace__"):
        assert raw.run_error(kind, filter=below)[0] == INVALID


# --- refused queries -----------------------------------------------------------------

BELOW = [where("__key__", HAS_ANCESTOR, key("A", number)) for number in (1, 2)]


@pytest.mark.parametrize(
    "query",
    [
        {"limit": -1},
        {"offset": -1},
        {"start_cursor": b"garbage"},
        {"end_cursor": b"\x0a\x00"},
        {"filter": combine(AND)},
        {"filter": {}},
        {"filter": combine(0, where("a", EQUAL, 1))},
        {"filter": where("a", 0, 1)},
        {"filter": where("a", 12, 1)},
        {"filter": where("a", EQUAL, [1])},
        {"filter": where("a", EQUAL, entity(None, n=1))},
        {"filter": where("a", IN, [])},
        {"filter": where("a", IN, 1)},
        {"filter": where("a", IN, list(range(31)))},
        {"filter": where("a", NOT_IN, list(range(11)))},
        {"filter": where("", EQUAL, 1)},
        {"filter": where("a", EQUAL, value(1, exclude_from_indexes=True))},
        {"filter": where("__key__", EQUAL, 1)},
        {"filter": where("__key__", EQUAL, key("A", 1, namespace="other"))},
        {"filter": where("__key__", HAS_ANCESTOR, 1)},
        {"filter": where("__key__", HAS_ANCESTOR, key("A", 1, namespace="other"))},
        {"filter": where("a", HAS_ANCESTOR, key("A", 1))},
        {"filter": combine(AND, where("a", NOT_EQUAL, 1), where("b", NOT_IN, [1]))},
        {"filter": combine(AND, where("a", NOT_IN, [1]), where("b", IN, [1, 2]))},
        {"filter": combine(OR, *BELOW)},
        {"filter": combine(AND, *BELOW)},
        {"filter": combine(AND, *[where("a", IN, list(range(30)))] * 200)},
        {"projection": ("a", "a")},
        {"projection": ("__other__",)},
        {"projection": ("a",), "filter": where("a", EQUAL, 1)},
        {"order": ("a", "-a")},
        {"distinct": ("a",), "order": ("b", "a")},
        {"distinct": ("a", "a"), "projection": ("a",)},
        {"distinct": ("a",), "filter": where("a", EQUAL, 1)},
        {"distinct": ("a",), "filter": where("a", IN, [1, 2])},
        # Without a kind, only keys filter and order.
        {"kind": None, "filter": where("a", EQUAL, 1)},
        {"kind": None, "order": ("a",)},
        {"kind": None, "order": ("-__key__",)},
        {"kind": ""},
        {"kind": "x" * 1501},
    ],
    ids=lambda query: repr(query)[:60],
)
def test_an_invalid_query_is_refused(raw: RawClient, query: Any) -> None:
    """The query gets INVALID_ARGUMENT, as from the service, not a wrong answer."""
    raw.upsert(entity(key("A", 1), a=1, b=1))
    code, text = raw.run_error(**{"kind": "A", **query})
    assert (code, bool(text)) == (INVALID, True)


def test_a_cursor_whose_key_has_no_path(raw: RawClient) -> None:
    """It is no place among the results of any query."""
    cursor = datastore_pb.CompiledCursor()
    cursor.postfix_position.key.app = APP_ID
    cursor.postfix_position.key.path.SetInParent()
    for kind in ("A", None):
        for end in ("start_cursor", "end_cursor"):
            error = raw.run_error(kind, **{end: cursor.SerializeToString()})
            assert error[0] == INVALID


def test_a_cursor_whose_kind_is_not_text(raw: RawClient) -> None:
    """Bytes that are not UTF-8 are a kind too, but not the one of the query."""
    raw.upsert(entity(key("A", 1)), entity(key("A", 2)))
    cursor = raw.run("A", limit=1).end_cursor.replace(b"A", b"\xff")
    assert raw.run_error("A", start_cursor=cursor)[0] == INVALID
    assert ids(raw.run(start_cursor=cursor)) == []


def several(operator: int, first: int, last: int) -> list[dict[str, Any]]:
    """Return filters on as many properties."""
    return [where(f"p{number}", operator, 1) for number in range(first, last)]


@pytest.mark.parametrize(
    ("filters", "order"),
    [
        (several(GREATER, 0, 11), ()),
        ([*several(GREATER, 0, 10), where("__key__", GREATER, key("A", 1))], ()),
        (
            [
                combine(
                    OR,
                    combine(AND, *several(LESS, 0, 5)),
                    combine(AND, *several(NOT_EQUAL, 5, 6), *several(LESS, 6, 10)),
                ),
                where("p10", LESS, 1),
            ],
            (),
        ),
        (several(EQUAL, 0, 101), ()),
        ([*several(EQUAL, 0, 98), BELOW[0]], ("a", "b")),
        ([where("x", IN, list(range(30))), *several(EQUAL, 0, 71)], ()),
        ([*several(EQUAL, 0, 100) * 2, where("y", EQUAL, 1)], ()),
    ],
    ids=["inequality", "key", "or", "filters", "orders", "in", "repeated"],
)
def test_a_query_has_a_limit(
    raw: RawClient, filters: list[Any], order: tuple[str, ...]
) -> None:
    """Ten properties with an inequality, 100 filters and orders, and not one more."""
    most, more = combine(AND, *filters[:-1]), combine(AND, *filters)
    assert ids(raw.run("A", filter=most, order=order)) == []
    assert raw.run_error("A", filter=more, order=order)[0] == INVALID
