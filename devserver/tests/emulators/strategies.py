"""Random values, entities and queries. Most queries are valid."""

from typing import Any

from hypothesis import strategies as st

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
    combine,
    entity,
    key,
    point,
    timestamp,
    user,
    value,
    where,
)

Query = dict[str, Any]
"""Arguments of `RawClient.run`."""
Filter = dict[str, Any]

INEQUALITIES = (LESS, LESS_OR_EQUAL, GREATER, GREATER_OR_EQUAL)
NAMES = ("a", "b", "c")
PARENTS = [(), ("P", 1), ("P", 1, "P", 2)]
PATHS = [("P", 1), ("P", 1, "P", 2), ("P", 1, "K", 2), ("K", 3), ("K", "n3"), ("L", 1)]
PLAIN = [None, True, False, -1, 0, 1, 2, 2**62, "", "a", "b", "é", b"", b"a", b"\xff"]
DOUBLES = [-0.5, 0.0, 0.5, float("inf"), float("nan")]
SPECIAL = [timestamp(0, 1000), timestamp(1, 1000), point(1, 3), point(2, 3)]
# The Datastore emulator gives a user without user_id one.
USERS = [user("a@b", user_id="1"), user("c@d", user_id="2")]
KEYS = [key("R", 1), key("R", 2), key("R", "1")]

values = st.sampled_from([value(number) for number in range(3)]) | st.sampled_from(
    [value(content) for content in PLAIN + DOUBLES + SPECIAL + USERS + KEYS]
)
# The emulators differ about an empty list: the Datastore emulator indexes it as null.
lists = st.lists(values, min_size=1, max_size=4).map(value)
embedded = st.integers(0, 2).map(lambda x: value(entity(None, x=x)))
directions = st.sampled_from(["", "", "-"])


def keys(namespace: str) -> st.SearchStrategy[Any]:
    """Keys for filters."""
    return st.sampled_from([value(key(*path, namespace=namespace)) for path in PATHS])


@st.composite
def entities(draw: st.DrawFn, namespace: str, *, with_lists: bool) -> list[Any]:
    """Entities of the kinds K and L; without lists, some have embedded entities."""
    contents = st.dictionaries(
        st.sampled_from(NAMES),
        values | (lists if with_lists else embedded),
        min_size=2,
    )
    paths = st.builds(
        lambda parent, kind, identifier: (*parent, kind, identifier),
        st.sampled_from(PARENTS),
        st.sampled_from("KKKKKL"),
        st.integers(1, 4) | st.sampled_from(["n1", "n2", "n3"]),
    )
    return [
        entity(key(*path, namespace=namespace), **draw(contents))
        for path in draw(st.lists(paths, min_size=6, max_size=14, unique=True))
    ]


@st.composite
def filters(draw: st.DrawFn, namespace: str, *, depth: int = 0) -> Filter:
    """A filter with any operator, or OR and AND of some."""
    if depth < 2 and draw(st.integers(0, 9)) == 9:
        operator = draw(st.sampled_from([OR, OR, AND]))
        part = filters(namespace, depth=depth + 1)
        return combine(operator, *draw(st.lists(part, min_size=1, max_size=3)))
    name = draw(st.sampled_from(["a", "a", "b", "c", "__key__"]))
    operators = [EQUAL, EQUAL, *INEQUALITIES, NOT_EQUAL, IN, NOT_IN]
    contents = values
    if name == "__key__":
        operators += [HAS_ANCESTOR] * 3
        contents = keys(namespace)
    operator = draw(st.sampled_from(operators))
    several = operator in (IN, NOT_IN)
    chosen = st.lists(contents, min_size=1, max_size=3) if several else contents
    return where(name, operator, draw(chosen))


def columns(query: Query) -> set[str]:
    """Return the properties of which a query returns or compares single values."""
    names = {*query.get("projection", ()), *query.get("distinct", ())}
    return names - {"__key__"}


def has_alternatives(node: Filter) -> bool:
    """Return whether a filter has an OR or an IN."""
    if "property_filter" in node:
        operator: int = node["property_filter"]["op"]
        return operator == IN
    composite = node["composite_filter"]
    return composite["op"] == OR or any(map(has_alternatives, composite["filters"]))


@st.composite
def queries(draw: st.DrawFn, namespace: str, *, of_lists: bool = False) -> Query:
    """A query of any form, often an invalid one. Its order ends with the key.

    Args:
        draw: draws values.
        namespace: the namespace of its keys.
        of_lists: whether entities have lists; test_queries.py says what it leaves out.
    """
    found = draw(st.lists(filters(namespace), max_size=3))
    repeated = draw(st.integers(0, 9)) == 9
    order = draw(st.lists(st.sampled_from(NAMES), max_size=3, unique=not repeated))
    names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True)
    query: Query = {"filter": combine(AND, *found)} if found else {}
    if of_lists and found and has_alternatives(query["filter"]):
        order = []
    query["order"] = tuple(draw(directions) + name for name in order)
    last = draw(directions) + "__key__"
    match draw(st.sampled_from(["", "", "", "keys", "columns", "distinct"])):
        case "keys":
            query["projection"] = ("__key__",)
        case "columns":
            query["projection"] = tuple(draw(names))
        case "distinct":
            query["distinct"] = tuple(draw(names))
            query["projection"] = tuple(draw(names | st.just([])))
    if columns(query):
        last = "__key__"
    query["order"] += (last,)
    if not of_lists and draw(st.booleans()):
        query["limit"] = draw(st.integers(0, 5))
        query["offset"] = draw(st.integers(0, 3))
    return query


def _some(
    name: str, operators: tuple[int, ...], contents: st.SearchStrategy[Any]
) -> st.SearchStrategy[list[Filter]]:
    """At most two filters on a property."""
    found = st.builds(where, st.just(name), st.sampled_from(operators), contents)
    return st.lists(found, max_size=2)


@st.composite
def classic_queries(draw: st.DrawFn, namespace: str) -> Query:
    """A query that Datastore had before OR, IN, NOT_IN and !=; nearly always valid.

    It has inequalities on one property at most, and that one comes first in its order.
    """
    first, second, third = draw(st.permutations(NAMES))
    order = [second]
    found = draw(_some(first, (EQUAL,), values))
    found += draw(_some(second, INEQUALITIES, values))
    if draw(st.booleans()):
        order.append(third)
    if not found and draw(st.booleans()):
        order = []
        found = draw(_some("__key__", INEQUALITIES, keys(namespace)))
    if draw(st.integers(0, 3)) == 3:
        found.append(where("__key__", HAS_ANCESTOR, draw(keys(namespace))))
    query: Query = {"filter": combine(AND, *found)} if found else {}
    query["order"] = tuple(draw(directions) + name for name in (*order, "__key__"))
    match draw(st.sampled_from(["", "", "keys", "columns", "distinct"])):
        case "keys":
            query["projection"] = ("__key__",)
        case "columns" if order:
            query["projection"] = tuple(draw(st.permutations(order)))
        case "distinct" if order:
            query["projection"] = tuple(order)
            query["distinct"] = tuple(order[: draw(st.integers(1, 2))])
    if draw(st.booleans()):
        query["limit"] = draw(st.integers(0, 5))
        query["offset"] = draw(st.integers(0, 3))
    return query


@st.composite
def metadata_queries(draw: st.DrawFn, namespace: str, kind: str) -> Query:
    """A query of a metadata kind."""
    paths: list[tuple[str, ...]] = [("__kind__", name) for name in "JKLM"]
    if kind == "__property__":
        paths += [(*path, kind, name) for path in paths for name in "bd"]
    known = st.sampled_from([value(key(*path, namespace=namespace)) for path in paths])
    found = draw(_some("__key__", INEQUALITIES, known))
    if draw(st.integers(0, 3)) == 3:
        found.append(where("__key__", HAS_ANCESTOR, draw(known)))
    query: Query = {"filter": combine(AND, *found)} if found else {}
    query["projection"] = draw(st.sampled_from([(), ("__key__",)]))
    if draw(st.booleans()):
        query["order"] = ("__key__",)
    if draw(st.booleans()):
        query["limit"] = draw(st.integers(1, 3))
        query["offset"] = draw(st.integers(0, 2))
    return query


def _aggregation(operator: str, name: str, alias: str, limit: int) -> Any:
    found: dict[str, Any] = {operator: {"property": {"name": name}}}
    if operator == "count":
        found = {"count": {"up_to": limit} if limit < 8 else {}}
    return found | ({"alias": alias} if alias else {})


aggregations = st.lists(
    st.builds(
        _aggregation,
        st.sampled_from(["count", "sum", "avg"]),
        st.sampled_from(NAMES),
        st.sampled_from(["", "", "x", "y", "property_1", "__z__"]),
        st.integers(-1, 10),
    ),
    min_size=1,
    max_size=6,
)
