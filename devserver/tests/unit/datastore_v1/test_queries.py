"""Queries through Cloud NDB and as bare requests: filters, orders, pages, metadata."""

# the models of a library without types
# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False

import datetime
from collections.abc import Iterator
from typing import Any

import pytest
from google.cloud import ndb
from google.cloud.ndb import metadata

from gae_devserver.datastore_v1 import run_query
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
    value,
    where,
)
from tests.helpers.running_datastore import RunningDatastore

FULL, PROJECTION, KEY_ONLY = 1, 2, 3
NOT_FINISHED, AFTER_LIMIT, NO_MORE, AFTER_CURSOR = 1, 2, 3, 4


@pytest.fixture(scope="module")
def running() -> Iterator[RunningDatastore]:
    """A server for all tests of the module."""
    running = RunningDatastore()
    yield running
    running.stop()


@pytest.fixture
def client(running: RunningDatastore) -> Iterator[ndb.Client]:
    """A client of an empty datastore."""
    running.clear()
    client = running.client()
    yield client
    client.stub.close()


@pytest.fixture
def context(client: ndb.Client) -> Iterator[Any]:
    """A context without cache."""
    with client.context(cache_policy=False) as context:
        yield context


@pytest.fixture
def raw(running: RunningDatastore) -> Iterator[RawClient]:
    """A connection to an empty datastore."""
    running.clear()
    client = RawClient(running.host)
    yield client
    client.close()


@pytest.fixture
def raw_again(running: RunningDatastore) -> Iterator[RawClient]:
    """A connection to what the test has stored."""
    client = RawClient(running.host)
    yield client
    client.close()


class Item(ndb.Model):
    """What most queries are for."""

    n = ndb.IntegerProperty()
    color = ndb.StringProperty()
    tags = ndb.StringProperty(repeated=True)
    day = ndb.DateTimeProperty()


COLORS = ("red", "green", "blue")


@pytest.fixture
def items(context: Any) -> list[Item]:
    """Ten items with n from 0 to 9, in an order of keys that is another one."""
    items = [
        Item(
            id=f"{(7 * n) % 10}",
            n=n,
            color=COLORS[n % 3],
            tags=[COLORS[n % 3], COLORS[(n + 1) % 3]],
            day=datetime.datetime(2020, 1, n + 1),
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
        (lambda: Item.query(Item.n == 3), [3]),
        (lambda: Item.query(Item.n < 3), [0, 1, 2]),
        (lambda: Item.query(Item.n <= 3), [0, 1, 2, 3]),
        (lambda: Item.query(Item.n > 7), [8, 9]),
        (lambda: Item.query(Item.n >= 7), [7, 8, 9]),
        (lambda: Item.query(Item.n > 2, Item.n < 5), [3, 4]),
        (lambda: Item.query(Item.n != 3), [0, 1, 2, 4, 5, 6, 7, 8, 9]),
        (lambda: Item.query(Item.n.NOT_IN([1, 3, 5])), [0, 2, 4, 6, 7, 8, 9]),
        (lambda: Item.query(Item.n.IN([5, 1, 5])).order(Item.n), [1, 5]),
        (lambda: Item.query(Item.n.IN([7, 1], server_op=True)), [1, 7]),
        (lambda: Item.query(Item.color == "red").order(Item.n), [0, 3, 6, 9]),
        (lambda: Item.query(Item.color == "red", Item.n > 3), [6, 9]),
        (lambda: Item.query(Item.color == "red").order(-Item.n), [9, 6, 3, 0]),
        (
            lambda: Item.query(Item.tags == "red").order(-Item.n),
            [9, 8, 6, 5, 3, 2, 0],
        ),
        (
            lambda: Item.query(Item.tags == "red", Item.tags == "blue").order(
                Item.n
            ),
            [2, 5, 8],
        ),
        (
            lambda: Item.query(ndb.OR(Item.n == 8, Item.color == "green")).order(
                -Item.n
            ),
            [8, 7, 4, 1],
        ),
        (
            lambda: Item.query(
                ndb.AND(
                    ndb.OR(Item.color == "red", Item.color == "blue"),
                    ndb.OR(Item.n == 2, Item.n == 3, Item.n == 4),
                )
            ).order(Item.n),
            [2, 3],
        ),
        (
            lambda: Item.query().order(Item.color, -Item.n),
            [8, 5, 2, 7, 4, 1, 9, 6, 3, 0],
        ),
        (
            lambda: Item.query().order(-Item.color, Item.n),
            [0, 3, 6, 9, 1, 4, 7, 2, 5, 8],
        ),
        (lambda: Item.query().order(Item._key), [0, 3, 6, 9, 2, 5, 8, 1, 4, 7]),
        (lambda: Item.query().order(-Item._key), [7, 4, 1, 8, 5, 2, 9, 6, 3, 0]),
        (lambda: Item.query(Item._key == ndb.Key(Item, "1")), [3]),
        (lambda: Item.query(Item._key > ndb.Key(Item, "7")), [4, 7]),
        (lambda: Item.query(Item.day > datetime.datetime(2020, 1, 9)), [9]),
        (lambda: Item.query(Item.day == datetime.datetime(2020, 1, 4)), [3]),
        (
            lambda: Item.query(
                Item.day.IN(
                    [datetime.datetime(2020, 1, day) for day in (2, 5)], server_op=True
                )
            ).order(-Item.day),
            [4, 1],
        ),
        (lambda: Item.gql("WHERE n > 7 ORDER BY n DESC"), [9, 8]),
        (lambda: ndb.gql("SELECT * FROM Item WHERE n IN (1, 2) ORDER BY n"), [1, 2]),
        (
            lambda: ndb.gql("SELECT * FROM Item WHERE n NOT IN :1", [0, 1, 2]),
            [3, 4, 5, 6, 7, 8, 9],
        ),
        (lambda: Item.query(Item.n == 77), []),
    ],
)  # fmt: skip
def test_a_query_finds_what_it_asks_for(
    items: list[Item], query: Any, expected: list[int]
) -> None:
    """Comparisons, sets, AND and OR, orders: each with the results in their order."""
    assert numbers(query().fetch()) == expected
    assert query().count() == len(expected)
    assert [item.n for item in query().iter(limit=2)] == expected[:2]


def test_limits_and_offsets(items: list[Item]) -> None:
    """fetch, get, count and slices, with one query and with several behind one."""
    for query in (
        Item.query().order(Item.n),
        Item.query(Item.n.IN(list(range(10)))).order(Item.n),
    ):
        assert numbers(query.fetch(3)) == [0, 1, 2]
        assert numbers(query.fetch(3, offset=2)) == [2, 3, 4]
        assert numbers(query.fetch(offset=8)) == [8, 9]
        assert numbers(query.fetch(offset=20)) == []
        assert query.get().n == 0
        assert query.count() == 10
        assert query.count(limit=4) == 4
        assert query.count(limit=40) == 10
    assert Item.query(Item.n != 3).count() == 9
    assert Item.query(Item.n != 3).count(limit=5) == 5
    assert Item.query(ndb.OR(Item.n < 3, Item.color == "red")).count() == 6


def test_one_entity_is_one_result_whatever_its_list_has(raw: RawClient) -> None:
    """A list that matches with several values gives one result, at the first."""
    raw.upsert(
        entity(key("A", 1), t=[1, 5]),
        entity(key("A", 2), t=[2, 4]),
        entity(key("A", 3), t=[3]),
    )
    assert ids(raw.run("A", order=("t",))) == [1, 2, 3]
    assert ids(raw.run("A", order=("-t",))) == [1, 2, 3]
    assert ids(raw.run("A", filter=where("t", GREATER, 1))) == [2, 3, 1]
    assert ids(raw.run("A", filter=where("t", NOT_EQUAL, 3))) == [1, 2]
    assert ids(raw.run("A", filter=where("t", NOT_IN, [1, 2, 3]))) == [2, 1]
    between = combine(AND, where("t", GREATER, 3), where("t", LESS, 5))
    assert ids(raw.run("A", filter=between)) == [2]
    assert ids(raw.run("A", filter=where("t", IN, [1, 5, 3]))) == [1, 3]


def test_values_of_all_types_have_one_order(raw: RawClient) -> None:
    """Null, numbers and times, booleans, bytes and text, doubles, users, keys."""
    user = entity(
        None,
        email=value("a@b", exclude_from_indexes=True),
        auth_domain=value("b", exclude_from_indexes=True),
    )
    in_order = [
        value(None),
        value(-5),
        {"timestamp_value": {"seconds": 1}},
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
        {"geo_point_value": {"latitude": 1, "longitude": 2}},
        value(user, meaning=20),
        value(key("K", 2)),
        value(key("K", 2, "K", 1)),
        value(key("K", "1")),
    ]
    mixed = []
    for number, content in enumerate(in_order):
        mixed.append(entity(key("A", (number * 7) % 20 + 1)))
        mixed[-1].properties["p"] = content
    raw.upsert(*mixed, entity(key("A", 50), p=value(1, exclude_from_indexes=True)))
    expected = [entity.key.path[0].id for entity in mixed]
    assert ids(raw.run("A", order=("p",))) == expected
    assert ids(raw.run("A", order=("-p",))) == expected[::-1]
    for place in (0, 3, 8, 12, 16, 19):
        wanted = mixed[place].properties["p"]
        assert ids(raw.run("A", filter=where("p", LESS, wanted))) == expected[:place]
        found = ids(raw.run("A", filter=where("p", GREATER, wanted)))
        assert found == expected[place + 1 :]
        found = ids(raw.run("A", filter=where("p", EQUAL, wanted)))
        assert found == [expected[place]]


def test_what_is_not_indexed_is_not_found(context: Any) -> None:
    """An excluded or missing property neither matches nor sorts."""

    class Note(ndb.Model):
        text = ndb.TextProperty()
        size = ndb.IntegerProperty(indexed=False)
        name = ndb.StringProperty()

    Note(text="a", size=1, name="x").put()
    for name, wanted in (("text", "a"), ("size", 1), ("other", None)):
        assert Note.query(ndb.FilterNode(name, "=", wanted)).fetch() == []
        order = ndb.query.PropertyOrder(name)
        assert Note.query().order(order).fetch() == []
    assert Note.query(Note.name == "x").count() == 1
    assert Note.query().order(Note.name).count() == 1


def test_several_inequalities_and_their_order(raw: RawClient) -> None:
    """Properties with inequalities order by name after what is asked for."""
    raw.upsert(*(entity(key("A", n + 1), a=(7 * n) % 10, b=n % 2) for n in range(10)))
    both = combine(AND, where("b", GREATER, 0), where("a", GREATER, 2))
    expected = sorted(n for n in ((7 * n) % 10 for n in range(1, 10, 2)) if n > 2)
    found = raw.run("A", filter=both).entity_results
    assert [r.entity.properties["a"].integer_value for r in found] == expected
    either = combine(OR, where("a", LESS, 2), where("a", GREATER, 7))
    found = raw.run("A", filter=either).entity_results
    assert [r.entity.properties["a"].integer_value for r in found] == [0, 1, 8, 9]
    found = raw.run("A", filter=where("a", GREATER, 7), order=("b",)).entity_results
    assert [r.entity.properties["a"].integer_value for r in found] == [8, 9]


def test_ancestors_and_all_kinds(context: Any) -> None:
    """A query below a key, with and without a kind, and one over everything."""
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
    first = ndb.Query(filters=ndb.FilterNode("__key__", ">", everything[2]))
    assert first.fetch(keys_only=True) == everything[3:]


# --- projections ---------------------------------------------------------------------


def test_projections(items: list[Item]) -> None:
    """Only the projected values come, each with its type."""
    found = Item.query().order(-Item.n).fetch(2, projection=["n", "day"])
    assert [(item.n, item.day) for item in found] == [
        (9, datetime.datetime(2020, 1, 10)),
        (8, datetime.datetime(2020, 1, 9)),
    ]
    with pytest.raises(ndb.UnprojectedPropertyError):
        _ = found[0].color
    assert found[0].key == items[9].key
    either = Item.query(ndb.OR(Item.color == "red", Item.color == "blue"))
    assert numbers(either.order(-Item.n).fetch(3, projection=["n"])) == [9, 8, 6]
    keys = either.order(-Item.n).fetch(3, keys_only=True)
    assert keys == [items[n].key for n in (9, 8, 6)]
    assert Item.query(Item.n > 7).fetch(keys_only=True) == [
        items[8].key,
        items[9].key,
    ]


def test_each_value_of_a_list_is_projected_for_itself(items: list[Item]) -> None:
    """A projected list gives a result for each of its values."""
    query = Item.query(Item.n < 2).order(Item.n, Item.tags)
    found = query.fetch(projection=[Item.n, Item.tags])
    assert [(item.n, item.tags) for item in found] == [
        (0, ["green"]),
        (0, ["red"]),
        (1, ["blue"]),
        (1, ["green"]),
    ]


def test_distinct(items: list[Item]) -> None:
    """Of each value, or combination of values, the first result."""
    query = Item.query(projection=["color"], distinct=True)
    assert [item.color for item in query] == ["blue", "green", "red"]
    query = Item.query(projection=["color", "n"], distinct_on=["color"]).order(
        Item.color, -Item.n
    )
    assert [(item.color, item.n) for item in query] == [
        ("blue", 8),
        ("green", 7),
        ("red", 9),
    ]
    page, cursor, more = query.fetch_page(2)
    assert ([item.n for item in page], more) == ([8, 7], True)
    page, _, more = query.fetch_page(2, start_cursor=cursor)
    assert ([item.n for item in page], more) == ([9], False)


@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "embedded"])
def test_structured_properties_are_searched(client: ndb.Client, legacy: bool) -> None:
    """By one part, by several of the same item, and projected, in either form."""

    class Part(ndb.Model):
        one = ndb.StringProperty()
        two = ndb.StringProperty()

    class Whole(ndb.Model):
        n = ndb.IntegerProperty()
        part = ndb.StructuredProperty(Part)
        parts = ndb.StructuredProperty(Part, repeated=True)

    def part(pair: str) -> Part:
        return Part(one=pair[0], two=pair[1])

    with client.context(cache_policy=False, legacy_data=legacy):
        for n, pairs in enumerate(("ab cd", "ad cb", "xy")):
            parts = [part(pair) for pair in pairs.split()]
            Whole(id=n + 1, n=n, part=parts[0], parts=parts).put()
        assert numbers(Whole.query(Whole.part.one == "a")) == [0, 1]
        assert numbers(Whole.query(Whole.part == part("ad"))) == [1]
        assert numbers(Whole.query(Whole.parts.one == "c")) == [0, 1]
        assert numbers(Whole.query(Whole.parts == part("cb"))) == [1]
        assert numbers(Whole.query(Whole.parts.one == "a", Whole.n > 0)) == [1]
        assert numbers(Whole.query().order(-Whole.part.two)) == [2, 1, 0]
        found = Whole.query(Whole.n == 0).fetch(projection=["part.one", "parts.two"])
        assert sorted((item.part.one, item.parts[0].two) for item in found) == [
            ("a", "b"),
            ("a", "d"),
        ]


# --- pages and cursors ---------------------------------------------------------------


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
    "projected": lambda: Item.query(projection=["tags"]),
    "projected-down": lambda: Item.query(
        Item.tags > "green", projection=["tags"]
    ).order(-Item.tags),
}


@pytest.fixture
def many(context: Any) -> None:
    """A hundred items, of which many are equal in something."""
    ndb.put_multi(
        Item(
            id=(37 * n) % 100 + 1,
            n=n % 10,
            color=COLORS[n % 3],
            tags=[COLORS[n % 3], COLORS[(n // 2) % 3]],
        )
        for n in range(100)
    )


def identities(found: Any) -> list[Any]:
    """Return what tells results apart."""
    return [(item.key.id(), item._values.get("tags") and item.tags) for item in found]


@pytest.mark.parametrize("name", QUERIES)
def test_pages_join_without_gap_or_overlap(many: None, name: str) -> None:
    """All pages together are the results of the whole query, in its order."""
    query = QUERIES[name]()
    expected = identities(query.fetch())
    assert len(expected) > 30
    found: list[Any] = []
    cursor, more = None, True
    while more:
        page, cursor, more = query.fetch_page(7, start_cursor=cursor)
        found += identities(page)
        cursor = ndb.Cursor(urlsafe=cursor.urlsafe()) if cursor else None
    assert found == expected
    *_, last = _cursors(query)
    assert query.fetch_page(7, start_cursor=last) == ([], None, False)


def _cursors(query: Any) -> Iterator[Any]:
    iterator = query.iter()
    while iterator.has_next():
        iterator.next()
        yield iterator.cursor_after()


@pytest.mark.parametrize("name", ["key", "down", "equal-down", "two", "in"])
def test_a_cursor_cuts_at_either_side(many: None, name: str) -> None:
    """Up to an end cursor and from it on as a start cursor is everything, once."""
    query = QUERIES[name]()
    expected = identities(query.fetch())
    for place, cursor in enumerate(_cursors(query), start=1):
        if place % 9 == 0:
            assert identities(query.fetch(end_cursor=cursor)) == expected[:place]
            assert identities(query.fetch(start_cursor=cursor)) == expected[place:]
            tail = query.fetch(3, start_cursor=cursor, offset=2)
            assert identities(tail) == expected[place + 2 : place + 5]


@pytest.mark.parametrize(
    ("find", "forth", "back"),
    [
        (Item.query, [Item._key], [-Item._key]),
        (lambda: Item.query(Item.color == "red"), [Item._key], [-Item._key]),
        (Item.query, [Item.n, Item._key], [-Item.n, -Item._key]),
        (
            lambda: Item.query(Item.tags == "blue"),
            [Item.n, -Item._key],
            [-Item.n, Item._key],
        ),
        (
            lambda: Item.query(Item.color.IN(["red", "blue"], server_op=True)),
            [-Item.color, Item.n, Item._key],
            [Item.color, -Item.n, -Item._key],
        ),
    ],
    ids=["key", "equal", "one", "key-down", "several"],
)
def test_a_cursor_works_in_the_reversed_order(
    many: None, find: Any, forth: Any, back: Any
) -> None:
    """What came before a cursor comes behind it when the order is reversed."""
    for orders, reversed_orders in ((forth, back), (back, forth)):
        query = find().order(*orders)
        reverse = find().order(*reversed_orders)
        expected = identities(query.fetch())
        assert len(expected) > 30
        for place, cursor in enumerate(_cursors(query), start=1):
            if place % 9 == 0:
                before, behind = expected[:place][::-1], expected[place:][::-1]
                assert identities(reverse.fetch(start_cursor=cursor)) == before
                assert identities(reverse.fetch(end_cursor=cursor)) == behind


def test_a_reversed_page_can_be_turned_again(items: list[Item]) -> None:
    """The cursor of a page in reversed order fits the first order, too."""
    forth, back = Item.query().order(Item.n), Item.query().order(-Item.n)
    _, cursor, _ = forth.fetch_page(5)
    page, cursor, more = back.fetch_page(2, start_cursor=cursor)
    assert (numbers(page), more) == ([4, 3], True)
    page, _, _ = forth.fetch_page(2, start_cursor=cursor)
    assert numbers(page) == [3, 4]


def test_a_cursor_outlives_its_entity(items: list[Item]) -> None:
    """A page goes on in the right place though the entity at the cursor has gone."""
    query = Item.query().order(Item.n)
    _, cursor, _ = query.fetch_page(4)
    items[3].key.delete()
    # as large as the one at the cursor, and with a larger key: it comes behind it
    Item(id="new", n=3, color="x").put()
    items[5].n = 100
    items[5].put()
    rest, _, _ = query.fetch_page(20, start_cursor=cursor)
    assert numbers(rest) == [3, 4, 6, 7, 8, 9, 100]


def test_batches_say_whether_there_is_more(raw: RawClient) -> None:
    """After a limit there may be more, at the end there is not; a cursor cuts, too."""
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
    assert beyond.skipped_cursor == rest.end_cursor
    assert (ids(raw.run("A", limit=0)), ids(raw.run("None"))) == ([], [])
    kinds = [
        raw.run("A").entity_result_type,
        raw.run("A", projection=("x",)).entity_result_type,
        raw.run("A", projection=("__key__",)).entity_result_type,
    ]
    assert kinds == [FULL, PROJECTION, KEY_ONLY]


def test_a_cursor_of_another_query_is_refused(raw: RawClient) -> None:
    """A cursor fits only a query with the same order."""
    raw.upsert(entity(key("A", 1), n=1), entity(key("A", 2), n=2))
    cursor = raw.run("A", limit=1).end_cursor
    code, text = raw.run_error("A", order=("n",), start_cursor=cursor)
    assert code.name == "INVALID_ARGUMENT"
    assert "cursor" in text


def test_long_results_come_in_batches(
    raw: RawClient, monkeypatch: pytest.MonkeyPatch, context: Any
) -> None:
    """Neither count nor bytes of a batch grow without limit; clients see no seam."""
    raw.upsert(*(entity(key("Item", n), n=n, pad="x" * 400) for n in range(1, 41)))
    monkeypatch.setattr(run_query, "MAX_BATCH_RESULTS", 15)
    first = raw.run("Item")
    assert (len(ids(first)), first.more_results) == (15, NOT_FINISHED)
    assert numbers(Item.query(Item.n > 2).order(-Item.n)) == list(range(40, 2, -1))
    assert numbers(Item.query().fetch(20, offset=18)) == list(range(19, 39))
    assert Item.query().count() == 40
    monkeypatch.setattr(run_query, "MAX_BATCH_BYTES", 2000)
    assert len(ids(raw.run("Item"))) < 10
    assert len(Item.query().fetch()) == 40


@pytest.mark.parametrize(
    "query",
    [
        {"distinct": ("n",), "projection": ("n",)},
        {"distinct": ("tags",), "projection": ("tags",), "order": ("-tags",)},
        {"projection": ("tags",), "filter": where("tags", NOT_EQUAL, "green")},
        {"projection": ("tags",), "filter": where("color", EQUAL, "red")},
        {"projection": ("tags",), "filter": where("n", GREATER, 3), "order": ("tags",)},
        {"projection": ("n",), "order": ("-n", "-__key__")},
    ],
    ids=str,
)
def test_a_projection_goes_on_after_a_cursor(
    many: None, raw_again: RawClient, query: Any
) -> None:
    """A cursor of a projection leads to the results that follow."""
    found = raw_again.run("Item", **query).entity_results
    expected = [str(one.entity) for one in found]
    for place in range(0, len(found), 7):
        rest = raw_again.run("Item", **query, start_cursor=found[place].cursor)
        after = [str(one.entity) for one in rest.entity_results]
        assert after == expected[place + 1 :]


def test_three_thousand_results(context: Any) -> None:
    """More than three batches, in order and complete."""
    for start in range(0, 3000, 500):
        ndb.put_multi(Item(id=n + 1, n=n) for n in range(start, start + 500))
    assert numbers(Item.query().order(-Item.n)) == list(range(2999, -1, -1))
    assert Item.query().count() == 3000


# --- metadata ------------------------------------------------------------------------


def test_metadata_tells_namespaces_kinds_and_properties(client: ndb.Client) -> None:
    """What is stored, within the range that is asked for, and nothing that was."""

    class Other(ndb.Model):
        text = ndb.TextProperty()
        mixed = ndb.GenericProperty()

    with client.context(cache_policy=False):
        Item(id=1, n=1, tags=["a"]).put()
        Other(id=1, mixed="x", text="y").put()
        Other(id=2, mixed=1).put()
        Other(id=3, namespace="other").put()
        gone = Item(id=2, namespace="gone").put()
        gone.delete()
        assert metadata.get_kinds() == ["Item", "Other"]
        assert metadata.get_kinds(start="J", end="Z") == ["Other"]
        assert metadata.get_namespaces() == ["", "other"]
        assert metadata.get_namespaces(start="a") == ["other"]
        assert metadata.get_properties_of_kind("Item") == ["color", "day", "n", "tags"]
        assert metadata.get_properties_of_kind("Item", start="d", end="o") == [
            "day",
            "n",
        ]
        assert metadata.get_representations_of_kind("Other") == {
            "mixed": ["INT64", "STRING"]
        }
        assert [kind.kind_name for kind in metadata.Kind.query()] == ["Item", "Other"]
        found = metadata.Property.query().fetch(keys_only=True)
        assert [(key.parent().id(), key.id()) for key in found] == [
            ("Item", "color"),
            ("Item", "day"),
            ("Item", "n"),
            ("Item", "tags"),
            ("Other", "mixed"),
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
    ids=str,
)
def test_metadata_is_found_by_key_alone(
    raw: RawClient, kind: str, query: dict[str, Any]
) -> None:
    """Another filter or order on a metadata kind is refused, as by the service."""
    raw.upsert(entity(key("A", 1), a=1))
    assert raw.run_error(kind, **query)[0].name == "INVALID_ARGUMENT"


def test_metadata_below_a_kind(raw: RawClient) -> None:
    """Only the properties have an ancestor: their kind."""
    raw.upsert(entity(key("A", 1), a=1), entity(key("B", 1), b=1))
    below = where("__key__", HAS_ANCESTOR, key("__kind__", "B"))
    assert ids(raw.run("__property__", filter=below)) == ["b"]
    for kind in ("__kind__", "__namespace__"):
        assert raw.run_error(kind, filter=below)[0].name == "INVALID_ARGUMENT"


def test_statistics_are_empty(context: Any) -> None:
    """Nothing makes statistics here: their kinds have no entities."""
    from google.cloud.ndb import stats

    assert stats.GlobalStat.query().get() is None
    assert stats.KindStat.query(stats.KindStat.kind_name == "Item").fetch() == []


# --- speed ---------------------------------------------------------------------------


def test_ten_thousand_entities_are_searched(context: Any, raw: RawClient) -> None:
    """Equality, first page and ordered page over 10,000 entities find theirs."""
    for start in range(0, 10_000, 500):
        raw.upsert(
            *(
                entity(key("Item", n + 1), n=n, color=f"c{n % 1000}")
                for n in range(start, start + 500)
            )
        )
    queries = [
        Item.query(Item.color == "c7"),
        Item.query(Item.color == "c7").order(-Item.n),
        Item.query().order(-Item.n),
        Item.query(Item.n > 5000),
        Item.query(),
    ]
    for query in queries:
        assert len(query.fetch(10)) == 10


def test_ancestor_filter_needs_a_key_of_the_namespace(raw: RawClient) -> None:
    """An ancestor of another namespace is refused."""
    raw.upsert(entity(key("A", 1, namespace="x")))
    below = where("__key__", HAS_ANCESTOR, key("A", 1, namespace="x"))
    assert ids(raw.run("A", "x", filter=below)) == [1]
    assert raw.run_error("A", filter=below)[0].name == "INVALID_ARGUMENT"
