"""The same random entities put and got here and on Google's two emulators.

Where both emulators differ from the service's documentation, or one of them from the
other, the dev server follows the documentation. Left out is:

- The Datastore emulator gives a user without an id one, moves the unindexed values of
  an array behind the others, and stores an empty array in an array.
- The Firestore emulator counts an array as a level of nesting, and takes "____" for a
  name that is not reserved. It does not index what is in an entity in an array, or what
  has another dotted name, but indexes what is in an entity without index. It sometimes
  fails with UNKNOWN, without a reason.
"""

import math
import uuid
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.cloud.datastore_v1.types import Entity, Key, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.datastore_v1 import (
    EQUAL,
    RawClient,
    entity,
    ids,
    key,
    point,
    timestamp,
    user,
    value,
    where,
)

UNKNOWN = grpc.StatusCode.UNKNOWN
FIRST, LAST = -62_135_596_800, 253_402_300_799
LEVELS = 20
ELSEWHERE = {"project_id": "elsewhere", "database_id": "d", "namespace_id": "n"}
PARTS = [{"kind": "K"}, {"kind": "L", "id": 1}]
KEYS = [
    key("K", 1),
    key("K", "n", "__kind__", -1),
    key("K", 1, namespace="other", database="other"),
    Key(partition_id=ELSEWHERE, path=PARTS[1:]),
    Key(path=PARTS[1:]),
]
ODD_KEYS = [
    key("K"),
    key(),
    key("K", 0),
    key("K", ""),
    key("", 1),
    key("K", "__x__"),
    key("K", 1, namespace="__x__"),
    key("K", 1, namespace="a/b"),
    key("K", 1, database="a b"),
    key("K", "x" * 1501),
    key(*["K", 1] * 101),
    Key(partition_id={"project_id": "a b"}, path=PARTS[1:]),
    Key(path=PARTS),
]
NAMES = ["a", "b", "a.b", ".c", "d.", "e\\f", "`g`", "é", "__h", " ", "x" * 700]
ODD_NAMES = ["", "__x__", "__key__", "x" * 1501]
NUMBERS = [0, -1, 2**63 - 1, -(2**63), -0.0, 5e-324, math.inf, math.nan]
SIMPLE = [None, True, *NUMBERS, "", "é", "a\0b", "x" * 1500, b"", b"\xff", b"x" * 1500]
SPECIAL = [
    timestamp(FIRST),
    timestamp(LAST, 999_999_999),
    timestamp(-1, 1_999),
    point(-0.0, 180),
    user("a@b", user_id="7"),
    value("http://a", meaning=2),
    value(7, meaning=13),
    value(2**62, meaning=7),
    value("x", meaning=15, exclude_from_indexes=True),
    value(b"x", meaning=22, exclude_from_indexes=True),
    value(b"x", meaning=16, exclude_from_indexes=True),
    value("x" * 5000, exclude_from_indexes=True),
]
ODD = [
    Value(),
    value("x" * 1501),
    value(b"x" * 1501),
    value("x", meaning=15),
    value(b"x", meaning=22),
    value("x", meaning=18),
    value(None, meaning=5),
    value(101, meaning=13),
    value(5, meaning=7),
    timestamp(FIRST - 1),
    timestamp(1, 10**9),
    point(90.5, 0),
    point(0, math.nan),
    value([1], exclude_from_indexes=True),
    value([1], meaning=1),
    value([value([1])]),
    value(entity(None), meaning=20),
    *map(value, ODD_KEYS),
]
# not the first or the last number, which hypothesis prefers
rarely = st.integers(0, 49).map(lambda number: number == 37)


@st.composite
def scalars(draw: st.DrawFn) -> Value:
    """A value of any type but an array or an entity; a few cannot be stored."""
    if draw(rarely):
        return draw(st.sampled_from(ODD))
    found = value(draw(st.sampled_from([*SIMPLE, *SPECIAL, *KEYS])))
    if draw(st.integers(0, 3)):
        return found
    excluded = Value()
    excluded._pb.CopyFrom(found._pb)
    excluded.exclude_from_indexes = True
    return excluded


@st.composite
def entities(draw: st.DrawFn, values: st.SearchStrategy[Value]) -> Entity:
    """An entity, perhaps with a key, which need not be complete."""
    names = st.sampled_from(ODD_NAMES if draw(rarely) else NAMES)
    own = draw(st.sampled_from([None, None, *KEYS, key("K")]))
    if draw(rarely):
        own = draw(st.sampled_from(ODD_KEYS))
    return entity(own, **draw(st.dictionaries(names, values, max_size=4)))


def nested(values: st.SearchStrategy[Value]) -> st.SearchStrategy[Value]:
    """Arrays and entities of values."""
    embedded = st.builds(
        lambda own, excluded: value(own, exclude_from_indexes=excluded),
        entities(values),
        st.booleans(),
    )
    parts = values.filter(lambda part: "array_value" not in part)
    return embedded | st.lists(parts | embedded, max_size=5).map(value)


values = st.recursive(scalars(), nested, max_leaves=15)


def deep(levels: int, innermost: Value) -> Value:
    """Return a value in entities in entities."""
    for _ in range(levels):
        innermost = value(entity(None, a=innermost))
    return innermost


properties = st.dictionaries(
    st.sampled_from(NAMES),
    values | st.builds(deep, st.integers(LEVELS - 3, LEVELS + 1), scalars()),
    min_size=1,
    max_size=4,
)


def paths(properties: Any, prefix: str = "") -> Iterator[tuple[str, Value, bool]]:
    """Yield every value that a query could look for, and the path to it.

    At the end is whether the Firestore emulator indexes it as the service does.
    """
    for name, content in properties.items():
        for part in content.array_value.values or [content]:
            if "entity_value" in part and part.meaning != 20:
                inner = part.entity_value.properties
                as_here = not (part.exclude_from_indexes or content.array_value)
                for path, found, deeper in paths(inner, f"{prefix}{name}."):
                    yield path, found, deeper and as_here and "." not in name
            elif "array_value" not in part:
                yield prefix + name, part, not (prefix and "." in name)


def unordered(content: Any) -> None:
    """Move unindexed values of arrays behind the others, as one emulator does."""
    content.array_value.values.sort(key=lambda part: part.exclude_from_indexes)
    for part in content.array_value.values:
        unordered(part)
    for inner in content.entity_value.properties.values():
        unordered(inner)


def answer(client: RawClient, own: Entity) -> Any:
    """Return the properties that come back after a put, or the status."""
    try:
        client.upsert(own)
    except grpc.RpcError as error:
        return error.code()
    (found,) = client.call("Lookup", keys=[own.key]).found
    return found.entity.properties


def comparable(found: Any, *, in_order: bool) -> Any:
    """Return an answer that is equal to another one also if it has NaN in it."""
    if isinstance(found, grpc.StatusCode):
        return found
    copies = {}
    for name, content in found.items():
        copies[name] = type(content._pb)()
        copies[name].CopyFrom(content._pb)
        if not in_order:
            unordered(copies[name])
    return {
        name: copy.SerializeToString(deterministic=True)
        for name, copy in copies.items()
    }


def found_by(client: RawClient, kind: str, name: str, content: Value) -> Any:
    """Return the ids of the entities with a value, or the status."""
    try:
        return ids(client.run(kind, filter=where(name, EQUAL, content)))
    except grpc.RpcError as error:
        return error.code()


@pytest.mark.parametrize("other", ["emulator", "firestore"])
@given(properties, st.data())
@settings(max_examples=3 * settings().max_examples)
def test_an_entity_comes_back_as_from_the_emulators(
    raw: RawClient,
    request: pytest.FixtureRequest,
    other: str,
    properties: dict[str, Value],
    data: st.DataObject,
) -> None:
    """It is refused by both or by neither, and found by the same values in it."""
    google: RawClient = request.getfixturevalue(other)
    # The kind is new, as the emulators cannot be emptied.
    kind = f"K{uuid.uuid4().hex}"
    own = entity(key(kind, 1), **properties)
    expected = answer(google, own)
    if expected is UNKNOWN:
        return
    in_order = other == "firestore"
    found = answer(raw, own)
    assert comparable(found, in_order=in_order) == comparable(
        expected, in_order=in_order
    )
    known = [
        (name, content)
        for name, content, as_here in paths(properties)
        if as_here or other == "emulator"
    ]
    if known and not isinstance(found, grpc.StatusCode):
        name, content = data.draw(st.sampled_from(known))
        looked_up = found_by(google, kind, name, content)
        if looked_up is not UNKNOWN:
            assert found_by(raw, kind, name, content) == looked_up, (name, content)
