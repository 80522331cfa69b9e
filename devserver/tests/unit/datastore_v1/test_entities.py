"""Lookup, Commit, AllocateIds and ReserveIds as bare requests: values, keys, ids."""

from itertools import product
from typing import Any

import grpc
import pytest
from google.appengine.datastore.datastore_stub_util import IdToCounter, ToScatteredId

from tests.helpers.calls import PROJECT
from tests.helpers.datastore_v1 import (
    EQUAL,
    RawClient,
    entity,
    ids,
    key,
    point,
    query_fields,
    timestamp,
    user,
    value,
    where,
)
from tests.helpers.running_datastore import RunningDatastore

Status = grpc.StatusCode
INVALID = Status.INVALID_ARGUMENT


def stored(raw: RawClient, *path: Any, **fields: Any) -> Any:
    """Return the properties of an entity, or None."""
    answer = raw.call("Lookup", keys=[key(*path, **fields)])
    return answer.found[0].entity.properties if answer.found else None


# --- lookup and commit ---------------------------------------------------------------


def test_lookup_tells_found_from_missing(raw: RawClient) -> None:
    """Each key is answered once, with version and times if there is an entity."""
    commit = raw.upsert(entity(key("A", 1), n=1))
    answer = raw.call("Lookup", keys=[key("A", 1), key("A", "no"), key("A", 1)])
    (found,), (missing,) = answer.found, answer.missing
    assert found.entity == entity(key("A", 1), n=1)
    assert found.version == commit.mutation_results[0].version > 0
    assert found.update_time == commit.mutation_results[0].update_time
    assert found.update_time == found.create_time
    assert missing.entity == entity(key("A", "no"))
    assert answer.read_time.timestamp() > 0


def test_a_lookup_has_at_most_1000_keys(raw: RawClient) -> None:
    """One more is refused, as by the service; repeated ones count."""
    keys = [key("A", 1)] * 1001
    assert raw.error("Lookup", keys=keys)[0] == INVALID
    assert raw.call("Lookup", keys=keys[1:]).missing


def test_a_lookup_that_would_be_too_large_defers_keys(raw: RawClient) -> None:
    """An answer fits into the 4 MiB that a gRPC client accepts by default."""
    large = value("x" * 1_000_000, exclude_from_indexes=True)
    keys = [key("A", number) for number in range(1, 10)]
    for own in keys:
        raw.upsert(entity(own, large=large))
    keys.insert(4, key("A", "missing"))
    found, missing, left = [], [], keys
    while left:
        answer = raw.call("Lookup", keys=left)
        found += [result.entity.key for result in answer.found]
        missing += [result.entity.key for result in answer.missing]
        assert len(answer.deferred) < len(left)
        left = list(answer.deferred)
    assert (found, missing) == (keys[:4] + keys[5:], [keys[4]])


def test_a_change_makes_a_new_version_and_keeps_the_creation(raw: RawClient) -> None:
    """An equal entity, even with reordered properties, gets no new version."""
    names = [f"p{number}" for number in range(30)]
    first, same, changed = (
        raw.upsert(entity(key("A", 1), **properties)).mutation_results[0]
        for properties in (
            dict.fromkeys(names, 1),
            dict.fromkeys(names[::-1], 1),
            dict.fromkeys(names, 2),
        )
    )
    assert same.version == first.version < changed.version
    assert changed.create_time == first.create_time < changed.update_time


@pytest.mark.parametrize(
    ("mutations", "code"),
    [
        ([{"insert": entity(key("A", 1))}], Status.ALREADY_EXISTS),
        ([{"update": entity(key("A", 2))}], Status.NOT_FOUND),
        ([{"update": entity(key("A"))}], INVALID),
        ([{"delete": key("A")}], INVALID),
        ([{}], INVALID),
        ([{"upsert": entity()}], INVALID),
        ([{"upsert": entity(key("A", 1))}, {"delete": key("A", 1)}], INVALID),
    ],
    ids=lambda part: " ".join(repr(part).split())[:60],
)
def test_a_bad_mutation_stops_the_whole_commit(
    raw: RawClient, mutations: list[Any], code: grpc.StatusCode
) -> None:
    """The valid mutations before and after it are not carried out either."""
    raw.upsert(entity(key("A", 1)))
    before, after = {"upsert": entity(key("A", 8))}, {"upsert": entity(key("A", 9))}
    error = raw.error("Commit", mode=2, mutations=[before, *mutations, after])
    assert error[0] == code
    assert ids(raw.run("A")) == [1]


def test_all_mutations_of_a_commit_are_carried_out(raw: RawClient) -> None:
    """Insert, update, upsert and delete in one commit; only new ids are returned."""
    raw.upsert(entity(key("A", 1), n=1), entity(key("A", 2)))
    answer = raw.commit(
        {"update": entity(key("A", 1), n=2)},
        {"delete": key("A", 2)},
        {"delete": key("A", "missing")},
        {"insert": entity(key("P", "x", "A"), n=3)},
        {"upsert": entity(key("A", "new"))},
    )
    returned = [bool(result.key.path) for result in answer.mutation_results]
    assert returned == [False, False, False, True, False]
    new = answer.mutation_results[3].key
    assert [element.kind for element in new.path] == ["P", "A"]
    assert stored(raw, "A", 1)["n"].integer_value == 2
    assert stored(raw, "A", 2) is None
    assert stored(raw, "P", "x", "A", new.path[1].id)["n"].integer_value == 3


def test_a_mask_selects_properties(raw: RawClient) -> None:
    """A property mask reaches into embedded entities and keeps the key.

    An embedded entity is left out if the mask selects nothing in it.
    """
    both, one = ({"d.e": 4, "a": 1, "f": [1, None]} for _ in range(2))
    hidden = {"exclude_from_indexes": True}
    both |= {"b": value(entity(None, x=1, y=2), **hidden), "c": 3, "u": user("a@b")}
    both["e"] = entity(key("E", 1), x=entity(None, y=1))
    one |= {"b": value(entity(None, x=1), **hidden)}
    raw.upsert(entity(key("A", 1), **both))
    expected = entity(key("A", 1), **one)
    paths = ["a", "a.b", "b.x", "d\\.e", "nothing", "e.x.z", "f", "f.x", "u.email"]
    mask = {"paths": paths}
    answer = raw.call("Lookup", keys=[key("A", 1)], property_mask=mask)
    assert answer.found[0].entity == expected
    batch = raw.call("RunQuery", **query_fields("A"), property_mask=mask).batch
    assert batch.entity_results[0].entity == expected


# --- ids -----------------------------------------------------------------------------


def test_allocated_ids_differ(raw: RawClient) -> None:
    """Each incomplete key gets an id of its own and keeps its path."""
    allocated = raw.call("AllocateIds", keys=[key("A"), key("P", 1, "A")] * 20).keys
    assert len({answer.path[-1].id for answer in allocated}) == 40
    assert allocated[1].path[0].id == 1


@pytest.mark.parametrize(
    ("rpc", "bad"),
    [("AllocateIds", key("A", 5)), ("ReserveIds", key("A"))],
    ids=["allocate-complete", "reserve-incomplete"],
)
def test_ids_of_the_wrong_keys_are_refused(raw: RawClient, rpc: str, bad: Any) -> None:
    """AllocateIds takes incomplete keys, ReserveIds complete ones."""
    assert raw.error(rpc, keys=[bad])[0] == INVALID


def test_a_reserved_id_is_not_allocated(raw: RawClient) -> None:
    """AllocateIds skips reserved ids; keys with a name reserve nothing."""
    (first,) = raw.call("AllocateIds", keys=[key("A")]).keys
    count, _ = IdToCounter(first.path[-1].id)
    reserved = {ToScatteredId(count + step) for step in range(3, 6)}
    raw.call("ReserveIds", keys=[key("A", number) for number in (*reserved, "name")])
    later = raw.call("AllocateIds", keys=[key("A")] * 10).keys
    assert reserved.isdisjoint(answer.path[-1].id for answer in later)
    assert first not in later


@pytest.mark.parametrize("number", [-5, 2**52 + 2**51 - 1, 2**52 - 1, 2**63 - 1])
@pytest.mark.parametrize("how", ["reserved", "stored"])
def test_an_id_at_the_end_of_its_range_leaves_others(
    raw: RawClient, number: int, how: str
) -> None:
    """An app may use any id, and the ids before it can still be allocated."""
    own = key("P", -1, "A", number)
    if how == "reserved":
        raw.call("ReserveIds", keys=[own])
    else:
        raw.upsert(entity(own, a=1))
        assert raw.call("Lookup", keys=[own]).found
    later = raw.call("AllocateIds", keys=[key("A")] * 10).keys
    found = {answer.path[-1].id for answer in later}
    assert len(found) == 10
    assert number not in found


@pytest.mark.parametrize("database", ["", "named"])
def test_a_reset_does_not_allocate_ids_again(
    raw: RawClient, running: RunningDatastore, database: str
) -> None:
    """A task or page from before the reset may still hold an id of a deleted entity."""
    keys = [key("A", database=database)] * 5
    before = raw.call("AllocateIds", database_id=database, keys=keys).keys
    deleted = entity(key("A", 1, database=database), n=1)
    raw.upsert(deleted, database_id=database)
    running.clear()
    after = raw.call("AllocateIds", database_id=database, keys=keys).keys
    assert not [allocated for allocated in after if allocated in before]
    assert not raw.call("Lookup", database_id=database, keys=[deleted.key]).found


# --- values --------------------------------------------------------------------------

embedded = entity(None, n=1, s=value("x", exclude_from_indexes=True))
KIND = {"kind": "K"}
apart = value(2, exclude_from_indexes=True)


@pytest.mark.parametrize(
    "content",
    [
        value(None),
        value(True),
        value(-(2**63)),
        value(1.5),
        value(float("inf")),
        value("text é"),
        value("x" * 10_000, exclude_from_indexes=True),
        value("x", exclude_from_indexes=True, meaning=15),
        value("http://" + "a" * 2076, meaning=2),
        value(100, meaning=13),
        value(b"\xff\x00"),
        value(b"x" * 10_000, exclude_from_indexes=True),
        value(b"zipped", exclude_from_indexes=True, meaning=22),
        value(2**62, meaning=7),
        value(key("K", 1, "L", "name", namespace="other")),
        value(key("K", 1, database="other")),
        value(embedded),
        value(embedded, exclude_from_indexes=True),
        value(entity(None)),
        value(entity(key("K", 1), n=[1, embedded])),
        value(entity(key("K", 1, "L", namespace="other", database="other"))),
        user("a@b"),
        user("a@b", user_id="7"),
        value([]),
        value([1, "a", None, 1.5]),
        value([value(1, exclude_from_indexes=True)]),
        value([embedded, embedded]),
        value([embedded, 1, None, "z"]),
        value([1, apart, value(embedded, exclude_from_indexes=True), 3, embedded, 4]),
        value(entity(None, p=[entity(None, q=[apart, 1]), 0], r=[apart, 1])),
        timestamp(-62_135_596_800),
        timestamp(253_402_300_799, 999_999_000),
        timestamp(-1, 999_999_000),
        timestamp(1, exclude_from_indexes=True),
        point(-90, 180),
    ],
    ids=lambda content: str(content)[:60],
)
def test_a_value_comes_back_as_it_was(raw: RawClient, content: Any) -> None:
    """Every type of value survives, with its meaning and its exclusion."""
    raw.upsert(entity(key("A", 1), p=content))
    assert stored(raw, "A", 1)["p"] == content


@pytest.mark.parametrize(
    "content",
    [
        {},
        value("x" * 1501),
        value("é" * 751),
        value(b"x" * 1501),
        value([value([1])]),
        value([], exclude_from_indexes=True),
        value("x", meaning=18),
        value("x", meaning=99),
        value("x", meaning=15),
        value(b"x", meaning=22),
        value(5, meaning=7),
        value(key("K")),
        value(101, meaning=13),
        value("http://" + "a" * 2077, meaning=2, exclude_from_indexes=True),
        value(entity(None, email=value("a@b")), meaning=20),
        value(entity(key("K", 1), **user("a@b").entity_value.properties), meaning=20),
        value(key("K", 1, database="a b")),
        value(entity({"partition_id": {"project_id": "a b"}, "path": [KIND]})),
        value(entity(key())),
        value(entity(key("K", 0))),
        value(entity(key("K", ""))),
        value(entity({"path": [KIND, KIND]}), exclude_from_indexes=True),
        value([entity(None, **{"x" * 749: entity(None, **{"y" * 749: 1})})]),
        point(90.1, 0),
        point(0, float("nan")),
        timestamp(253_402_300_800),
    ],
    ids=lambda content: str(content)[:60],
)
def test_a_value_that_cannot_be_stored_is_refused(raw: RawClient, content: Any) -> None:
    """It is too long, has no type, or its meaning or a key or a name in it is wrong."""
    bad = entity(key("A", 1))
    bad.properties["p"] = content
    code, text = raw.error("Commit", mode=2, mutations=[{"upsert": bad}])
    assert (code, bool(text)) == (INVALID, True)
    assert stored(raw, "A", 1) is None


def test_a_projected_value_can_be_looked_for(raw: RawClient) -> None:
    """It comes with a meaning of its own, and a query finds what it is a value of."""
    moment = timestamp(1, 1000)
    raw.upsert(entity(key("A", 1), p=[5, "x", b"y", moment, key("K", 1), user("a@b")]))
    projected = raw.run("A", projection=("p",)).entity_results
    assert len(projected) == 6
    for result in projected:
        content = result.entity.properties["p"]
        assert ids(raw.run("A", filter=where("p", EQUAL, content))) == [1]


def test_an_entity_has_20000_indexed_values(raw: RawClient) -> None:
    """Each value of a list counts, also in embedded entities; unindexed ones do not."""
    most = entity(
        key("A", 1),
        numbers=list(range(10_000)),
        part=entity(None, numbers=list(range(9_999))),
        one=1,
        apart=[value(n, exclude_from_indexes=True) for n in range(10)],
    )
    raw.upsert(most)
    most.properties["two"] = value(2)
    assert raw.error("Commit", mode=2, mutations=[{"upsert": most}])[0] == INVALID


def test_entities_have_a_size_limit(raw: RawClient) -> None:
    """An entity may have 1 MiB less 4 bytes; a commit may have more than 4 MiB."""

    def of(size: int) -> Any:
        part = value("x" * (size // 4), exclude_from_indexes=True)
        return entity(key("A", size), a=part, b=part, c=part, d=part)

    raw.upsert(*(of(1_048_000 + 4 * step) for step in range(5)))
    for size in (1_048_576, 1_048_600):
        error = raw.error("Commit", mode=2, mutations=[{"upsert": of(size)}])
        assert error[0] == INVALID


def test_nesting_has_a_limit(raw: RawClient) -> None:
    """Twenty levels of embedded entities can be stored, 21 cannot."""
    inner = entity(None, n=1)
    for _ in range(19):
        inner = entity(None, p=inner)
    raw.upsert(entity(key("A", 1), p=inner))
    deep = {"upsert": entity(key("A", 2), p=entity(None, p=inner))}
    assert raw.error("Commit", mode=2, mutations=[deep])[0] == INVALID


# --- keys, namespaces and databases --------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        key(),
        key("", 1),
        key("A", 0),
        key("A", ""),
        key("A", "__x__"),
        key("A", "x" * 1501),
        key("A" * 1501, 1),
        key(*["A", 1] * 101),
        key("A", 1, namespace="a/b"),
        key("A", 1, namespace="x" * 101),
        key("A", 1, database="other"),
        {"path": [{"kind": "A", "id": 1}], "partition_id": {"project_id": "wrong"}},
        {"path": [{"kind": "A"}, {"kind": "B", "id": 1}]},
    ],
    ids=lambda bad: repr(bad)[:60],
)
def test_a_malformed_key_is_refused(raw: RawClient, bad: Any) -> None:
    """A key that no entity can have is an invalid argument."""
    mutation = {"upsert": {"key": bad}}
    assert raw.error("Commit", mode=2, mutations=[mutation])[0] == INVALID
    assert ids(raw.run()) == []


@pytest.mark.parametrize(
    ("parent", "kind", "namespace"),
    [("p", "A", "__x__"), ("p", "__x__", ""), ("__x__", "A", "")],
    ids=["namespace", "kind", "parent"],
)
def test_reserved_names_are_only_read(
    raw: RawClient, parent: str, kind: str, namespace: str
) -> None:
    """No entity and no id can have a name like __this__, but a read finds nothing."""
    whole = key("P", parent, kind, 1, namespace=namespace)
    incomplete = key("P", parent, kind, namespace=namespace)
    for mutation in (
        {"upsert": entity(whole)},
        {"upsert": entity(incomplete)},
        {"delete": whole},
    ):
        code, text = raw.error("Commit", mode=2, mutations=[mutation])
        assert (code, "__x__" in text) == (INVALID, True)
    assert raw.error("AllocateIds", keys=[incomplete])[0] == INVALID
    assert raw.error("ReserveIds", keys=[whole])[0] == INVALID
    assert raw.call("Lookup", keys=[whole]).missing
    assert ids(raw.run(kind, namespace)) == []


@pytest.mark.parametrize(
    ("project", "code"),
    [("wrong", Status.PERMISSION_DENIED), ("", INVALID), ("a b", INVALID)],
)
def test_another_project_is_refused(
    raw: RawClient, project: str, code: grpc.StatusCode
) -> None:
    """The server has one project; the error names the other one, and the own one."""
    error = raw.error("Lookup", project_id=project, keys=[key("A", 1)])
    assert (error[0], project in error[1]) == (code, True)
    assert (PROJECT in error[1]) == (code == Status.PERMISSION_DENIED)


def test_a_key_without_partition_is_of_the_request(raw: RawClient) -> None:
    """A key that names no project is in the project of the request."""
    raw.upsert(entity({"path": [{"kind": "A", "id": 1}]}, n=1))
    assert stored(raw, "A", 1)["n"].integer_value == 1


def test_namespaces_and_databases_are_apart(raw: RawClient) -> None:
    """The same path is another entity in another namespace or database."""
    places = list(product(("", "second"), ("", "other")))
    entities = [
        entity(key("A", 1, database=database, namespace=namespace), n=n)
        for n, (database, namespace) in enumerate(places)
    ]
    for (database, _), own in zip(places, entities, strict=True):
        raw.upsert(own, database_id=database)
    for (database, namespace), own in zip(places, entities, strict=True):
        looked_up = raw.call("Lookup", database_id=database, keys=[own.key]).found
        fields = query_fields("A", namespace)
        fields["partition_id"]["database_id"] = database
        batch = raw.call("RunQuery", database_id=database, **fields).batch
        for found in (looked_up, batch.entity_results):
            assert [result.entity for result in found] == [own]


def test_a_key_of_another_database_is_refused(raw: RawClient) -> None:
    """A request and its keys name the same database, by a valid name."""
    own = key("A", 1, database="second")
    raw.upsert(entity(own, n=2), database_id="second")
    assert raw.call("Lookup", database_id="second", keys=[own]).found
    assert raw.error("Lookup", database_id="second", keys=[key("A", 1)])[0] == INVALID
    assert raw.error("Lookup", database_id="(default)", keys=[])[0] == INVALID
