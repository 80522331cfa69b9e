"""Commits as bare requests: masks, transforms, expected versions, what they answer."""

# the models of a library without types
# mypy: disallow-subclassing-any=False

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.appengine.api import apiproxy_stub_map, users
from google.appengine.datastore import datastore_pb
from google.appengine.ext import ndb as bundled_ndb

from tests.helpers.datastore_v1 import (
    RawClient,
    entity,
    key,
    point,
    timestamp,
    user,
    value,
)
from tests.helpers.running_datastore import RunningDatastore

Status = grpc.StatusCode
INVALID = Status.INVALID_ARGUMENT
A1 = key("A", 1)
NAN = float("nan")
LEAST, GREATEST = -(2**63), 2**63 - 1
NOTHING: dict[str, Any] = {"paths": []}
"""The mask of a mutation that leaves all properties to its transforms."""


def a1(**properties: Any) -> Any:
    """Return the entity A 1."""
    return entity(A1, **properties)


def stored(raw: RawClient, of: Any = A1) -> Any:
    """Return an entity, or None."""
    found = raw.call("Lookup", keys=[of]).found
    return found[0].entity if found else None


def transforms(*several: tuple[str, str, Any]) -> dict[str, Any]:
    """Return the part of a mutation that has transforms and writes nothing else."""
    messages = [
        {"property": name, operation: _operand(operation, content)}
        for name, operation, content in several
    ]
    return {"property_mask": NOTHING, "property_transforms": messages}


def _operand(operation: str, content: Any) -> Any:
    if operation == "set_to_server_value":
        return content
    operand = value(content)
    return operand.array_value if isinstance(content, list) else operand


def begin(raw: RawClient) -> bytes:
    """Begin a transaction."""
    return raw.call("BeginTransaction").transaction


def brief(part: Any) -> str:
    """Return the name of a parametrised test."""
    return " ".join(repr(part).split())[:50]


# --- transforms ----------------------------------------------------------------------

UNINDEXED = {"exclude_from_indexes": True}
RATING = {"meaning": 13}
APPEND, REMOVE = "append_missing_elements", "remove_all_from_array"
MANY = [1, 2.0, None, NAN, "x", True, A1, entity(None, x=1)]


@pytest.mark.parametrize(
    ("before", "operation", "operand", "after"),
    [
        (1, "increment", 2, 3),
        (1, "increment", 1.5, 2.5),
        (1.5, "increment", 1, 2.5),
        (GREATEST, "increment", 1, GREATEST),
        (LEAST, "increment", -1, LEAST),
        (GREATEST, "increment", 1.0, 2.0**63),
        (float("inf"), "increment", float("-inf"), NAN),
        ("1", "increment", 2, 2),
        (True, "increment", 2, 2),
        (timestamp(5), "increment", 2, 2),
        (value(1, **UNINDEXED), "increment", 2, 3),
        (1, "increment", value(2, **UNINDEXED), value(3, **UNINDEXED)),
        (value(1, **RATING), "increment", 2, 3),
        ("1", "increment", value(2, **RATING), value(2, **RATING)),
        (1, "maximum", 2, 2),
        (2, "maximum", 1, 2),
        (3, "maximum", 3.0, 3),
        (3.0, "maximum", 3, 3.0),
        (3, "maximum", 3.5, 3.5),
        (2**53 + 1, "maximum", 2.0**53, 2**53 + 1),
        (-0.0, "maximum", 0, -0.0),
        (1, "maximum", NAN, NAN),
        (NAN, "maximum", 1, NAN),
        (value(5, **UNINDEXED), "maximum", 4, value(5, **UNINDEXED)),
        (None, "maximum", 4, 4),
        (1, "minimum", 0.5, 0.5),
        (0, "minimum", -0.0, 0),
        (3.0, "minimum", 3, 3.0),
        (NAN, "minimum", 1, NAN),
        ([1], "minimum", 4.5, 4.5),
        ([1, 2.0, NAN], APPEND, [1.0, 2, NAN, 3, 3.0], [1, 2.0, NAN, 3]),
        ([None, 0.0], APPEND, [None, -0.0, False], [None, 0.0, False]),
        (["x"], APPEND, [b"x", "x"], ["x", b"x"]),
        ([1, 1], APPEND, [1], [1, 1]),
        ([timestamp(5)], APPEND, [timestamp(5, 1)], [timestamp(5)]),
        ([point(1, 2)], APPEND, [point(1, 2), A1], [point(1, 2), A1]),
        ([entity(None, x=1)], APPEND, [entity(None, x=1.0)], [entity(None, x=1)]),
        ([value(1, **UNINDEXED)], APPEND, [1], [value(1, **UNINDEXED)]),
        ("1", APPEND, ["1"], ["1"]),
        ("1", APPEND, [], []),
        (MANY, REMOVE, [1.0, 2, None, NAN, "x", True, A1, entity(None, x=1.0)], []),
        ([1, 2, 1.0, 3], REMOVE, [1, 4], [2, 3]),
        ([value("x" * 2000, **UNINDEXED)], REMOVE, ["x" * 2000], []),
        ("1", REMOVE, ["1"], []),
    ],
    ids=brief,
)
def test_a_transform_depends_on_the_stored_value(
    raw: RawClient, before: Any, operation: str, operand: Any, after: Any
) -> None:
    """The rules are those of PropertyTransform in Google's datastore.proto.

    Whether a number is indexed, and its meaning, come with the number that is kept.
    """
    raw.upsert(a1(n=before, m=1))
    change = {"update": a1(), **transforms(("n", operation, operand))}
    (result,) = raw.commit(change).mutation_results[0].transform_results
    # NaN differs from itself, but not in text.
    assert str(stored(raw)) == str(a1(n=after, m=1))
    assert str(result) == str(value(None if operation in (APPEND, REMOVE) else after))


@pytest.mark.parametrize(
    ("operation", "operand", "after"),
    [
        ("increment", 2, 2),
        ("maximum", -1.5, -1.5),
        ("minimum", 4, 4),
        (APPEND, [1, 1.0], [1]),
        (REMOVE, [1], []),
    ],
)
def test_a_transform_of_what_is_missing_sets_it(
    raw: RawClient, operation: str, operand: Any, after: Any
) -> None:
    """The entity may be missing too, or what a path leads through."""
    several = [(name, operation, operand) for name in ("n", "new.in.it", "m.n")]
    raw.upsert(a1(m=1))
    for given in (A1, key("A", 2), key("A")):
        answer = raw.commit({"upsert": entity(given), **transforms(*several)})
        of = given if given.path[-1].id else answer.mutation_results[0].key
        nested = entity(None, n=after)
        through = entity(None, **{"in": entity(None, it=after)})
        assert stored(raw, of) == entity(of, n=after, m=nested, new=through)


def test_transforms_follow_the_operation_in_order(raw: RawClient) -> None:
    """Each sees the result of those before it, whatever the mask is."""
    raw.upsert(a1(n=1, m=1))
    several = transforms(
        ("n", "increment", 2),
        ("e.x", "maximum", 7),
        ("n", "increment", 3),
        ("`d.t`", "increment", 1),
        (r"b\.s\\", "increment", 1),
        ("n", "minimum", 5.5),
    )
    change = {"upsert": a1(n=10, e=entity(None, y=1)), **several}
    expected = a1(**{"d.t": 1, "b.s\\": 1, "e": entity(None, x=7, y=1), "n": 5.5})
    for mask in (None, {"paths": ["n", "e", "m"]}):
        change["property_mask"] = mask
        (result,) = raw.commit(change).mutation_results
        assert stored(raw) == expected
        numbers = [12, 7, 15, 1, 1, 5.5]
        assert list(result.transform_results) == list(map(value, numbers))
        raw.upsert(a1(n=1, m=1))


def test_the_server_time_is_one_for_a_commit(raw: RawClient) -> None:
    """It is the time of the request, in milliseconds, for all properties."""
    times = transforms(
        ("t", "set_to_server_value", 1), ("u.v", "set_to_server_value", 1)
    )
    before = time.time()
    answer = raw.commit(
        {"insert": a1(), **times}, {"insert": entity(key("A")), **times}
    )
    results = [result.transform_results for result in answer.mutation_results]
    first, *others = [value for found in results for value in found]
    assert others == [first] * 3
    assert before - 0.001 <= first.timestamp_value.timestamp() <= time.time()
    assert first.timestamp_value.nanosecond % 10**6 == 0
    assert stored(raw) == a1(t=first, u=entity(None, v=first))


def test_a_transaction_transforms_one_entity_several_times(raw: RawClient) -> None:
    """Each mutation sees the entity that the ones before it have left."""
    add = transforms(("n", "increment", 1))
    answer = raw.commit(
        {"insert": a1(n=1, m=1), **add, "property_mask": None},
        {"upsert": a1(m=2), **add, "property_mask": {"paths": ["m"]}},
        {"update": a1(), **add},
        {"delete": A1},
        {"insert": a1(), **add},
        transaction=begin(raw),
    )
    found = [list(result.transform_results) for result in answer.mutation_results]
    assert found == [[value(2)], [value(3)], [value(4)], [], [value(1)]]
    assert stored(raw) == a1(n=1)


def test_concurrent_increments_are_all_counted(
    running: RunningDatastore, raw: RawClient
) -> None:
    """16 clients increment one property without a transaction."""
    add = {"upsert": a1(), **transforms(("n", "increment", 1))}

    def increment(_: int) -> None:
        client = RawClient(running.host)
        for _ in range(20):
            client.commit(add)
        client.close()

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(increment, range(16)))
    assert stored(raw) == a1(n=320)


DEEP = ".".join("a" * 22)
TEXT = value("x" * 700_000, **UNINDEXED)


@pytest.mark.parametrize(
    "bad",
    [
        {"property_transforms": [{"property": "n"}]},
        {"property_transforms": [{"property": "n", "set_to_server_value": 0}]},
        {"property_transforms": [{"property": "n", "increment": {}}]},
        transforms(("n", "increment", "1")),
        transforms(("n", "maximum", None)),
        transforms(("n", "increment", value(1, meaning=14))),
        transforms(("", "increment", 1)),
        transforms(("n..m", "increment", 1)),
        transforms(("n\\", "increment", 1)),
        transforms(("__key__", "increment", 1)),
        transforms(("n.__x__", "increment", 1)),
        transforms(("n" * 1501, "increment", 1)),
        transforms((DEEP, "increment", 1)),
        transforms(("n", "increment", 1), ("n.m", "increment", 1)),
        transforms(*[("n", "increment", 1)] * 501),
        transforms(("n", APPEND, list(range(501)))),
        transforms(("n", APPEND, ["x" * 1501])),
        transforms(("n", APPEND, [[1]])),
        transforms(("n", APPEND, [TEXT])),
        transforms((DEEP[2:], APPEND, [entity(None, x=1)])),
        {"update": None, "delete": A1, **transforms(("n", "increment", 1))},
        {"property_mask": {"paths": [""]}},
        {"property_mask": {"paths": ["n."]}},
        {"property_mask": {"paths": [r"\n"]}},
        {"property_mask": {"paths": ["`n"]}},
        {"property_mask": {"paths": ["__x__"]}},
        {"property_mask": {"paths": [".".join("a" * 1000)]}},
        {"property_mask": {"paths": ["__key__.n"]}},
        {"property_mask": NOTHING, "update": a1(n="x" * 1501)},
        {"property_mask": {"paths": ["m"]}, "update": a1(m=TEXT)},
        {"base_version": -1},
        {"base_version": 0},
        {"base_version": 2**62},
        {"base_version": 1, "update": None, "insert": a1()},
        {"base_version": 1, "update": None, "upsert": entity(key("A"))},
        {"base_version": 1, "conflict_resolution_strategy": 9},
        {"conflict_resolution_strategy": 1},
        {"update_time": {"seconds": 1, "nanos": 1}},
        {"update_time": {"nanos": -1000}},
    ],
    ids=brief,
)
def test_what_a_mutation_cannot_do_is_refused(raw: RawClient, bad: Any) -> None:
    """The whole commit fails, and the limits hold for what an entity becomes."""
    before = a1(n=1, big=TEXT)
    raw.upsert(before)
    mutations = [{"insert": entity(key("A", 2))}, {"update": a1(), **bad}]
    assert raw.error("Commit", mode=2, mutations=mutations)[0] == INVALID
    assert (stored(raw), stored(raw, key("A", 2))) == (before, None)


def test_transforms_keep_the_number_of_indexed_values(raw: RawClient) -> None:
    """An entity never gets more than 20,000 indexed values."""
    raw.upsert(a1(n=list(range(19_900))))
    add = [
        {"update": a1(), **transforms(("n", APPEND, list(range(start, start + 100))))}
        for start in (19_900, 20_000)
    ]
    raw.commit(add[0])
    assert raw.error("Commit", mode=2, mutations=[add[1]])[0] == INVALID
    assert len(stored(raw).properties["n"].array_value.values) == 20_000


# --- masks ---------------------------------------------------------------------------

BOTH = entity(None, x=1, y=2)
HIDDEN = value(BOTH, **UNINDEXED)
KEYED = entity(key("E", 1), x=1)


@pytest.mark.parametrize(
    ("before", "given", "paths", "after"),
    [
        ({"a": 1, "b": 2}, {"a": 3, "b": 4}, ["a"], {"a": 3, "b": 2}),
        ({"a": 1, "b": 2}, {"b": 4}, ["a", "no"], {"b": 2}),
        ({"a": 1}, {"a": 3}, [], {"a": 1}),
        ({"a": 1}, {"a": 3}, ["__key__"], {"a": 1}),
        ({"a": 1}, {"a": 3, "b": 4}, ["a", "a", "b"], {"a": 3, "b": 4}),
        ({"a": [1, 2]}, {"a": ["x"]}, ["a"], {"a": ["x"]}),
        ({"a": BOTH}, {"a": entity(None, x=3, y=4)}, ["a.x"], None),
        ({"a": BOTH}, {"a": entity(None, x=3)}, ["a", "a.x"], {"a": entity(None, x=3)}),
        ({"a": BOTH}, {"a": 5}, ["a.x"], {"a": entity(None, y=2)}),
        ({"a": BOTH}, {}, ["a.x", "a.y"], {"a": entity()}),
        ({"a": HIDDEN}, {"a": entity(None, x=1)}, ["a.x"], {"a": HIDDEN}),
        ({"a": BOTH}, {"a": HIDDEN}, ["a.x"], {"a": BOTH}),
        ({"a": KEYED}, {"a": BOTH}, ["a.x"], {"a": KEYED}),
        ({"a": 1}, {"a": BOTH}, ["a.x"], {"a": entity(None, x=1)}),
        ({"a": 1}, {}, ["a.x"], {"a": 1}),
        ({}, {"a": BOTH}, ["a.x"], {"a": entity(None, x=1)}),
        ({}, {"a": HIDDEN}, ["a.x", "a.y"], {"a": HIDDEN}),
        ({}, {"a": BOTH}, ["a.z.z"], {}),
        ({"a": [BOTH]}, {"a": [KEYED]}, ["a.x"], {"a": [BOTH]}),
        ({"a.x": 1, "a": BOTH}, {}, [r"a\.x"], {"a": BOTH}),
        ({"a.x": 1, "a": BOTH}, {}, ["`a.x`"], {"a": BOTH}),
        ({"`\\": 1, "é 1": 2}, {}, [r"\`\\", "é 1"], {}),
    ],
    ids=brief,
)
@pytest.mark.parametrize("operation", ["update", "upsert"])
def test_a_mask_limits_what_is_written(
    raw: RawClient, operation: str, before: Any, given: Any, paths: Any, after: Any
) -> None:
    """What the mask names is written, or deleted if the given entity lacks it."""
    if after is None:
        after = {"a": entity(None, x=3, y=2)}
    raw.upsert(a1(**before))
    raw.commit({operation: a1(**given), "property_mask": {"paths": paths}})
    assert stored(raw) == a1(**after)


def test_a_mask_of_a_new_entity(raw: RawClient) -> None:
    """A new entity has only what the mask names; a deletion ignores the mask."""
    mask = {"property_mask": {"paths": ["a"]}}
    for operation, of in (("insert", A1), ("upsert", key("A", 2))):
        raw.commit({operation: entity(of, a=1, b=2), **mask})
        assert stored(raw, of) == entity(of, a=1)
    raw.commit({"delete": A1, **mask})
    assert stored(raw) is None
    update = {"update": a1(a=1), **mask}
    assert raw.error("Commit", mode=2, mutations=[update])[0] == Status.NOT_FOUND


class Part(bundled_ndb.Model):
    """An embedded entity."""

    text = bundled_ndb.TextProperty()
    number = bundled_ndb.IntegerProperty()


class Bundled(bundled_ndb.Model):
    """An entity with values that only the bundled API writes like this."""

    n = bundled_ndb.IntegerProperty()
    name = bundled_ndb.StringProperty()
    new = bundled_ndb.TextProperty()
    user = bundled_ndb.UserProperty()
    text = bundled_ndb.TextProperty(compressed=True)
    blob = bundled_ndb.BlobProperty()
    blob_keys = bundled_ndb.BlobKeyProperty(repeated=True)
    part = bundled_ndb.LocalStructuredProperty(Part, compressed=True)
    parts = bundled_ndb.StructuredProperty(Part, repeated=True)
    pickled = bundled_ndb.PickleProperty()


WRITTEN = ("n", "name", "new")


def read_bundled(of: Any) -> tuple[Any, list[bytes]]:
    """Return a bundled entity, and the bytes of all properties but WRITTEN."""
    request, response = datastore_pb.GetRequest(), datastore_pb.GetResponse()
    request.key.add().CopyFrom(of.reference())
    apiproxy_stub_map.MakeSyncCall("datastore_v3", "Get", request, response)
    proto = response.entity[0].entity
    others = (
        prop.SerializeToString()
        for prop in (*proto.property, *proto.raw_property)
        if prop.name not in WRITTEN
    )
    return of.get(), sorted(others)


def test_the_rest_of_a_bundled_entity_stays(
    running: RunningDatastore, raw: RawClient
) -> None:
    """Masks and transforms leave each byte of other properties as it is."""
    with running.bundled():
        bundled_ndb.get_context().set_cache_policy(False)
        bundled_ndb.get_context().set_memcache_policy(False)
        part = Part(text="é", number=1)
        own = Bundled(
            id=1,
            n=1,
            name="a",
            user=users.User("a@b.example", _auth_domain="b.example"),
            text="x" * 2000,
            blob=b"\xff",
            blob_keys=[bundled_ndb.BlobKey("b")],
            part=part,
            parts=[part, Part(number=2)],
            pickled=(1, 2),
        )
        own.put()
        _, before = read_bundled(own.key)
        change = {
            "update": entity(key("Bundled", 1), name="b", new="c", blob=b"ignored"),
            **transforms(("n", "increment", 1)),
            "property_mask": {"paths": ["name", "new"]},
        }
        raw.commit(change)
        own.n, own.name, own.new = 2, "b", "c"
        assert read_bundled(own.key) == (own, before)


# --- expected versions ---------------------------------------------------------------


@pytest.mark.parametrize("expects", ["base_version", "update_time"])
def test_an_expected_version_detects_conflicts(raw: RawClient, expects: str) -> None:
    """A mutation of another version is left out and says so, or fails the commit."""
    (first,) = raw.upsert(a1(n=1)).mutation_results
    (second,) = raw.upsert(a1(n=2)).mutation_results
    fresh = {expects: getattr(second, expects.removeprefix("base_"))}
    stale = {expects: getattr(first, expects.removeprefix("base_"))}
    changes = [
        {"upsert": a1(n=3)},
        {"update": a1(), **transforms(("n", "increment", 1))},
        {"delete": A1},
    ]
    for change in changes:
        (result,) = raw.commit({**change, **stale}).mutation_results
        assert (result.conflict_detected, result.version) == (True, second.version)
        assert result.update_time == second.update_time
        assert not result.transform_results
        strict = {**change, **stale, "conflict_resolution_strategy": 3}
        error = raw.error("Commit", mode=2, mutations=[strict])[0]
        assert error == Status.FAILED_PRECONDITION
    assert stored(raw) == a1(n=2)
    raw.commit({**changes[1], **fresh})
    assert stored(raw) == a1(n=3)


def test_a_missing_entity_has_version_zero(raw: RawClient) -> None:
    """It conflicts with any other expected version, which an update cannot have."""
    change = {"upsert": a1(n=1)}
    (result,) = raw.commit({**change, "base_version": 5}).mutation_results
    assert result.conflict_detected
    assert result.version > 5
    assert not result.update_time
    update = {"update": a1(n=1), "base_version": 5}
    assert raw.error("Commit", mode=2, mutations=[update])[0] == Status.NOT_FOUND
    (result,) = raw.commit({**change, "base_version": 0}).mutation_results
    assert (result.conflict_detected, stored(raw)) == (False, a1(n=1))


def test_mutations_of_one_entity_expect_one_version(raw: RawClient) -> None:
    """Only the first is compared, so the others cannot expect or do anything else."""
    version = raw.upsert(a1(n=1)).mutation_results[0].version
    expecting = {"upsert": a1(n=2), "base_version": version}
    several = [{"upsert": a1(n=3)}, expecting]
    strict = {**expecting, "conflict_resolution_strategy": 3}
    for bad in (several, [strict, expecting], [strict, several[0]]):
        fields = {"mode": 1, "transaction": begin(raw), "mutations": bad}
        assert raw.error("Commit", **fields)[0] == INVALID
    answer = raw.commit(expecting, expecting, several[0], transaction=begin(raw))
    assert not any(result.conflict_detected for result in answer.mutation_results)
    assert stored(raw) == a1(n=3)


# --- what a commit answers -----------------------------------------------------------


def test_only_a_transaction_has_a_commit_time(raw: RawClient) -> None:
    """The times of each entity are there in any case, except after a deletion."""
    plain = raw.upsert(a1(n=1))
    assert plain.commit_time is None
    fields = {"mode": 1, "single_use_transaction": {"read_write": {}}}
    for within in ({"transaction": begin(raw)}, fields):
        answer = raw.commit({"upsert": a1(n=2)}, {"delete": key("A", 2)}, **within)
        changed, deleted = answer.mutation_results
        assert answer.commit_time >= changed.update_time > changed.create_time
        assert deleted.version >= changed.version
        assert (deleted.update_time, deleted.create_time) == (None, None)
    assert changed.create_time == plain.mutation_results[0].create_time


@pytest.mark.parametrize(
    "same",
    [
        {"upsert": a1(n=1, u=user("a@b"))},
        {"update": a1(n=2), "property_mask": NOTHING},
        {"update": a1(n=1), "property_mask": {"paths": ["n", "no"]}},
        {"update": a1(), **transforms(("n", "increment", 0))},
        {"update": a1(), **transforms(("n", "increment", 1), ("n", "minimum", 1))},
    ],
    ids=brief,
)
def test_what_changes_nothing_makes_no_version(raw: RawClient, same: Any) -> None:
    """The answer has the version and the times of the stored entity."""
    (first,) = raw.upsert(a1(n=1, u=user("a@b"))).mutation_results
    (result,) = raw.commit(same).mutation_results
    result.transform_results = []
    assert result == first


def test_an_entity_that_is_deleted_and_put_is_new(raw: RawClient) -> None:
    """It has a new version and time of creation, even if it has equal properties.

    Before the commit, it was what it was.
    """
    (first,) = raw.upsert(a1(n=1)).mutation_results
    mutations = [{"delete": A1}, {"insert": a1(n=1)}]
    answer = raw.commit(*mutations, transaction=begin(raw))
    last = answer.mutation_results[1]
    assert last.version > first.version
    assert last.create_time == last.update_time > first.update_time
    for moment, version in ((first, first.version), (last, last.version)):
        options = {"read_time": moment.update_time}
        batch = raw.run("A", read_options=options)
        assert [result.version for result in batch.entity_results] == [version]
