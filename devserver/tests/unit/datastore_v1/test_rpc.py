"""google.datastore.v1.Datastore: what each RPC answers, and what it refuses."""

import logging
import re
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from gae_devserver.datastore_v1 import results
from gae_devserver.storage.storage import StorageError
from gae_devserver.testing import wait_until
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
    query_fields,
    value,
    where,
)
from tests.helpers.running_datastore import RunningDatastore

INVALID = grpc.StatusCode.INVALID_ARGUMENT
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED


@pytest.fixture(scope="module")
def running() -> Iterator[RunningDatastore]:
    """A server for all tests of the module."""
    running = RunningDatastore()
    yield running
    running.stop()


@pytest.fixture
def raw(running: RunningDatastore) -> Iterator[RawClient]:
    """A connection to an empty datastore."""
    running.clear()
    client = RawClient(running.host)
    yield client
    client.close()


def stored(raw: RawClient, *path: Any, **fields: Any) -> Any:
    """Return the properties of an entity, or None."""
    answer = raw.call("Lookup", keys=[key(*path, **fields)])
    return answer.found[0].entity.properties if answer.found else None


# --- lookup and commit ---------------------------------------------------------------


def test_lookup_tells_found_from_missing(raw: RawClient) -> None:
    """Each key is answered once, with version and times where there is an entity."""
    commit = raw.upsert(entity(key("A", 1), n=1))
    answer = raw.call("Lookup", keys=[key("A", 1), key("A", "no"), key("A", 1)])
    (found,), (missing,) = answer.found, answer.missing
    assert found.entity == entity(key("A", 1), n=1)
    assert found.version == commit.mutation_results[0].version > 0
    assert found.update_time == found.create_time == commit.commit_time
    assert missing.entity == entity(key("A", "no"))
    assert answer.read_time.timestamp() > 0


def test_a_lookup_that_would_be_too_large_defers_keys(raw: RawClient) -> None:
    """An answer fits into the 4 MiB that gRPC's clients take; what is left comes next.

    RawClient takes no more, as google-cloud-datastore and Cloud NDB 2.3.0.
    """
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
    """The version goes up with a change, not with a write that changes nothing."""
    first = raw.upsert(entity(key("A", 1), n=1)).mutation_results[0]
    same = raw.upsert(entity(key("A", 1), n=1)).mutation_results[0]
    changed = raw.upsert(entity(key("A", 1), n=2)).mutation_results[0]
    assert same.version == first.version < changed.version
    assert changed.create_time == first.create_time < changed.update_time


def test_the_order_of_properties_does_not_matter(raw: RawClient) -> None:
    """The same properties in another order are no change."""
    names = [f"p{number}" for number in range(30)]
    versions = {
        raw.upsert(entity(key("A", 1), **dict.fromkeys(order, 1)))
        .mutation_results[0]
        .version
        for order in (names, names[::-1])
    }
    assert len(versions) == 1


def test_the_client_library_stays_out() -> None:
    """The server takes the messages alone; who wants the client still gets it."""
    code = """
import sys
import gae_devserver.datastore_v1.server
assert "google.cloud.datastore_v1.types" in sys.modules
assert "google.cloud.datastore_v1.services" not in sys.modules
from google.cloud import ndb
assert "google.cloud.datastore_v1.services" in sys.modules
print(ndb.Key("A", 1, project="p", namespace="", database="").to_legacy_urlsafe("s~"))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("mutation", "code"),
    [
        ({"insert": entity(key("A", 1))}, grpc.StatusCode.ALREADY_EXISTS),
        ({"update": entity(key("A", 2))}, grpc.StatusCode.NOT_FOUND),
        ({"update": entity(key("A"))}, INVALID),
        ({"delete": key("A")}, INVALID),
        ({}, INVALID),
        ({"upsert": entity()}, INVALID),
    ],
)
def test_mutations_have_the_status_codes_of_the_service(
    raw: RawClient, mutation: Any, code: grpc.StatusCode
) -> None:
    """Insert finds nothing, update finds something, and only new keys lack an id."""
    raw.upsert(entity(key("A", 1)))
    assert raw.error("Commit", mode=2, mutations=[mutation])[0] == code


def test_all_mutations_of_a_commit_are_carried_out(raw: RawClient) -> None:
    """Insert, update, upsert and delete in one commit; only new ids are told."""
    raw.upsert(entity(key("A", 1), n=1), entity(key("A", 2)))
    answer = raw.commit(
        {"update": entity(key("A", 1), n=2)},
        {"delete": key("A", 2)},
        {"insert": entity(key("P", "x", "A"), n=3)},
        {"upsert": entity(key("A", "new"))},
    )
    told = [bool(result.key.path) for result in answer.mutation_results]
    assert told == [False, False, True, False]
    new = answer.mutation_results[2].key
    assert [element.kind for element in new.path] == ["P", "A"]
    assert stored(raw, "A", 1)["n"].integer_value == 2
    assert stored(raw, "A", 2) is None
    assert stored(raw, "P", "x", "A", new.path[1].id)["n"].integer_value == 3


def test_a_commit_that_fails_changes_nothing(raw: RawClient) -> None:
    """The good mutations before and after a bad one are not carried out either."""
    raw.upsert(entity(key("A", 1)))
    good, other = entity(key("A", 2)), entity(key("A", 3))
    mutations = [
        {"upsert": good},
        {"insert": entity(key("A", 1))},
        {"upsert": other},
    ]
    code, _ = raw.error("Commit", mode=2, mutations=mutations)
    assert code == grpc.StatusCode.ALREADY_EXISTS
    assert ids(raw.run("A")) == [1]


def test_one_entity_is_written_once_outside_of_a_transaction(raw: RawClient) -> None:
    """Two mutations of one entity in a commit without transaction are refused."""
    twice = [{"upsert": entity(key("A", 1))}, {"delete": key("A", 1)}]
    assert raw.error("Commit", mode=2, mutations=twice)[0] == INVALID


def test_a_base_version_detects_conflicts(raw: RawClient) -> None:
    """A mutation for another version is left out and says so, or aborts."""
    version = raw.upsert(entity(key("A", 1), n=1)).mutation_results[0].version
    stale = {"upsert": entity(key("A", 1), n=2), "base_version": version - 1}
    result = raw.commit(stale).mutation_results[0]
    assert (result.conflict_detected, result.version) == (True, version)
    assert stored(raw, "A", 1)["n"].integer_value == 1
    strict = {**stale, "conflict_resolution_strategy": 3}
    assert raw.error("Commit", mode=2, mutations=[strict])[0] == grpc.StatusCode.ABORTED
    raw.commit({**stale, "base_version": version})
    assert stored(raw, "A", 1)["n"].integer_value == 2


def test_a_mask_selects_properties(raw: RawClient) -> None:
    """A property mask goes into embedded entities and keeps the key."""
    inner = entity(None, x=1, y=2)
    raw.upsert(entity(key("A", 1), a=1, b=inner, c=3))
    mask = {"paths": ["a", "b.x", "nothing"]}
    answer = raw.call("Lookup", keys=[key("A", 1)], property_mask=mask)
    assert answer.found[0].entity == entity(key("A", 1), a=1, b=entity(None, x=1))
    fields = query_fields("A")
    batch = raw.call("RunQuery", **fields, property_mask=mask).batch
    assert batch.entity_results[0].entity == answer.found[0].entity


def test_ids_are_allocated_once_and_can_be_reserved(raw: RawClient) -> None:
    """Allocated ids differ; a reserved id is not allocated."""
    wanted = [key("A"), key("P", 1, "A")]
    allocated = raw.call("AllocateIds", keys=wanted * 20).keys
    found = {answer.path[-1].id for answer in allocated}
    assert len(found) == 40
    assert allocated[1].path[0].id == 1
    # the ids that would come next are among the scattered ones after the last
    raw.call("ReserveIds", keys=[key("A", 77), key("A", "name")])
    assert raw.error("AllocateIds", keys=[key("A", 5)])[0] == INVALID
    assert raw.error("ReserveIds", keys=[key("A")])[0] == INVALID


def test_a_reserved_id_does_not_come_again(
    raw: RawClient, running: RunningDatastore
) -> None:
    """AllocateIds goes on behind a reserved id."""
    (first,) = raw.call("AllocateIds", keys=[key("A")]).keys
    store = running.calls.stub
    ahead = running.do(lambda: store._IdCounter("scattered")) + 3
    from google.appengine.datastore.datastore_stub_util import ToScatteredId

    reserved = {ToScatteredId(ahead + step) for step in range(3)}
    raw.call("ReserveIds", keys=[key("A", number) for number in reserved])
    later = raw.call("AllocateIds", keys=[key("A")] * 10).keys
    assert reserved.isdisjoint(answer.path[-1].id for answer in later)
    assert first not in later


@pytest.mark.parametrize("database", ["", "named"])
def test_a_reset_does_not_begin_anew_with_ids(
    raw: RawClient, running: RunningDatastore, database: str
) -> None:
    """What is left of a task or a page from before may still have one."""
    keys = [key("A", database=database)] * 5
    before = raw.call("AllocateIds", database_id=database, keys=keys).keys
    named = entity(key("A", 1, database=database), n=1)
    raw.upsert(named, database_id=database)
    running.clear()
    after = raw.call("AllocateIds", database_id=database, keys=keys).keys
    assert not [allocated for allocated in after if allocated in before]
    answer = raw.call("Lookup", database_id=database, keys=[named.key])
    assert not answer.found


@pytest.mark.parametrize("number", [2**52 + 2**51 - 1, 2**52 - 1, 2**63 - 1])
@pytest.mark.parametrize("how", ["reserved", "stored"])
def test_the_last_id_leaves_others(raw: RawClient, number: int, how: str) -> None:
    """An id at the end of its range takes none of those before it."""
    if how == "reserved":
        raw.call("ReserveIds", keys=[key("A", number)])
    else:
        raw.upsert(entity(key("A", number), a=1))
    later = raw.call("AllocateIds", keys=[key("A")] * 10).keys
    found = {answer.path[-1].id for answer in later}
    assert len(found) == 10
    assert number not in found


# --- values --------------------------------------------------------------------------

embedded = entity(None, n=1, s=value("x", exclude_from_indexes=True))
user = entity(
    None,
    email=value("a@b", exclude_from_indexes=True),
    auth_domain=value("b", exclude_from_indexes=True),
)
user_with_id = entity(None, **user.properties)
user_with_id.properties["user_id"] = value("7", exclude_from_indexes=True)


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
        value("http://a", meaning=2),
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
        value(user, meaning=20),
        value(user_with_id, meaning=20),
        value([]),
        value([1, "a", None, 1.5]),
        value([value(1, exclude_from_indexes=True)]),
        value([embedded, embedded]),
        {"timestamp_value": "0001-01-01T00:00:00Z"},
        {"timestamp_value": "9999-12-31T23:59:59.999999Z"},
        {"timestamp_value": "1969-12-31T23:59:59.999999Z"},
        {"geo_point_value": {"latitude": -90, "longitude": 180}},
        {"timestamp_value": "2020-02-03T04:05:06Z", "exclude_from_indexes": True},
    ],
    ids=str,
)
def test_a_value_comes_back_as_it_was(raw: RawClient, content: Any) -> None:
    """Every type of value survives, with its meaning and its exclusion."""
    from google.cloud.datastore_v1.types import Value

    if isinstance(content, dict):
        content = Value.from_json(__import__("json").dumps(_camel(content)))
    raw.upsert(entity(key("A", 1), p=content))
    assert stored(raw, "A", 1)["p"] == content


def _camel(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the names of JSON: timestampValue for timestamp_value."""
    parts = {name: name.split("_") for name in fields}
    return {
        words[0] + "".join(word.title() for word in words[1:]): fields[name]
        for name, words in parts.items()
    }


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
        value(entity(None, email=value("a@b")), meaning=20),
        {"geo_point_value": {"latitude": 90.1, "longitude": 0}},
        {"geo_point_value": {"latitude": 0, "longitude": float("nan")}},
        {"timestamp_value": {"seconds": 253402300800}},
    ],
    ids=str,
)
def test_a_value_that_cannot_be_stored_is_refused(raw: RawClient, content: Any) -> None:
    """Too long for an index, of no type, or of a meaning that is not its type's."""
    bad = entity(key("A", 1))
    bad.properties["p"] = content
    code, text = raw.error("Commit", mode=2, mutations=[{"upsert": bad}])
    assert (code, bool(text)) == (INVALID, True)
    assert stored(raw, "A", 1) is None


def test_an_entity_has_20000_indexed_values(raw: RawClient) -> None:
    """Each value of a list counts, also in embedded entities; others do not."""
    most = entity(
        key("A", 1),
        numbers=list(range(10_000)),
        part=entity(None, numbers=list(range(9_999))),
        one=1,
        apart=[value(n, exclude_from_indexes=True) for n in range(10)],
    )
    raw.upsert(most)
    most.properties["two"] = value(2)
    code, text = raw.error("Commit", mode=2, mutations=[{"upsert": most}])
    assert (code, text) == (INVALID, "Too many indexed properties")


def test_entities_have_a_size_limit(raw: RawClient) -> None:
    """An entity may have 1 MiB less 4 bytes; 4 MiB of entities fit in one commit."""

    def of(size: int) -> Any:
        fields = {
            f"p{part}": value("x" * (size // 4), exclude_from_indexes=True)
            for part in range(4)
        }
        return entity(key("A", size), **fields)

    raw.upsert(*(of(1_048_000 + 4 * step) for step in range(5)))
    for size in (1_048_576, 1_048_600):
        code, text = raw.error("Commit", mode=2, mutations=[{"upsert": of(size)}])
        assert (code, "too big" in text) == (INVALID, True)


def test_nesting_has_a_limit(raw: RawClient) -> None:
    """Twenty embedded entities in each other can be stored, not more."""
    inner = entity(None, n=1)
    for _ in range(19):
        inner = entity(None, p=inner)
    raw.upsert(entity(key("A", 1), p=inner))
    deep = {"upsert": entity(key("A", 2), p=entity(None, p=inner))}
    assert raw.error("Commit", mode=2, mutations=[deep])[0] == INVALID


# --- keys ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        key(),
        key("", 1),
        key("A", 0),
        key("A", ""),
        key("__A__", 1),
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
    """A key that no entity can have ends with INVALID_ARGUMENT, and nothing else."""
    mutation = {"upsert": {"key": bad}}
    assert raw.error("Commit", mode=2, mutations=[mutation])[0] == INVALID
    assert ids(raw.run()) == []


@pytest.mark.parametrize(
    "path",
    [
        {"namespace": "__x__"},
        {"kind": "__x__"},
        {"parent": "__x__"},
    ],
    ids=["namespace", "kind", "parent"],
)
def test_reserved_names_are_only_read(raw: RawClient, path: dict[str, str]) -> None:
    """A name like __this__ is the datastore's own: no entity and no id has it."""
    names = {"parent": "p", "kind": "A", "namespace": "", **path}
    above, namespace = ("P", names["parent"]), names["namespace"]
    whole = key(*above, names["kind"], 1, namespace=namespace)
    incomplete = key(*above, names["kind"], namespace=namespace)
    for mutation in (
        {"upsert": entity(whole)},
        {"upsert": entity(incomplete)},
        {"delete": whole},
    ):
        code, text = raw.error("Commit", mode=2, mutations=[mutation])
        assert (code, "reserved" in text) == (INVALID, True)
    assert raw.error("AllocateIds", keys=[incomplete])[0] == INVALID
    assert raw.error("ReserveIds", keys=[whole])[0] == INVALID
    assert raw.call("Lookup", keys=[whole]).missing
    assert ids(raw.run(names["kind"], namespace)) == []


def test_another_project_is_refused(raw: RawClient) -> None:
    """The server has one project, and says which."""
    code, text = raw.error("Lookup", project_id="wrong", keys=[key("A", 1)])
    assert (code, "wrong" in text) == (grpc.StatusCode.PERMISSION_DENIED, True)
    assert raw.error("Lookup", project_id="", keys=[])[0] == INVALID
    assert raw.error("Lookup", project_id="a b", keys=[])[0] == INVALID


def test_a_key_without_partition_is_of_the_request(raw: RawClient) -> None:
    """A key that names no project is one of the project of the request."""
    raw.upsert(entity({"path": [{"kind": "A", "id": 1}]}, n=1))
    assert stored(raw, "A", 1)["n"].integer_value == 1


def test_namespaces_are_apart(raw: RawClient) -> None:
    """The same path in two namespaces is two entities."""
    raw.upsert(entity(key("A", 1), n=1), entity(key("A", 1, namespace="other"), n=2))
    assert stored(raw, "A", 1)["n"].integer_value == 1
    assert stored(raw, "A", 1, namespace="other")["n"].integer_value == 2
    batch = raw.run("A", "other")
    assert [result.entity.key for result in batch.entity_results] == [
        key("A", 1, namespace="other")
    ]


def test_named_databases_are_apart(raw: RawClient, running: RunningDatastore) -> None:
    """A named database has its own entities, keys and queries, and a reset ends it."""
    own = key("A", 1, database="second")
    raw.upsert(entity(key("A", 1), n=1))
    raw.upsert(entity(own, n=2), database_id="second")
    assert stored(raw, "A", 1)["n"].integer_value == 1
    found = raw.call("Lookup", database_id="second", keys=[own]).found[0].entity
    assert found == entity(own, n=2)
    fields = query_fields("A")
    fields["partition_id"]["database_id"] = "second"
    batch = raw.call("RunQuery", database_id="second", **fields).batch
    assert [result.entity.key for result in batch.entity_results] == [own]
    assert raw.error("Lookup", database_id="second", keys=[key("A", 1)])[0] == INVALID
    assert raw.error("Lookup", database_id="(default)", keys=[])[0] == INVALID
    running.clear()
    assert raw.call("Lookup", database_id="second", keys=[own]).missing


# --- queries -------------------------------------------------------------------------


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
        {"filter": where("a", EQUAL, embedded)},
        {"filter": where("a", IN, [])},
        {"filter": where("a", IN, 1)},
        {"filter": where("a", IN, list(range(31)))},
        {"filter": where("a", NOT_IN, list(range(11)))},
        {"filter": where("", EQUAL, 1)},
        {"filter": where("__key__", EQUAL, 1)},
        {"filter": where("__key__", EQUAL, key("A", 1, namespace="other"))},
        {"filter": where("__key__", HAS_ANCESTOR, 1)},
        {"filter": where("a", HAS_ANCESTOR, key("A", 1))},
        {"filter": combine(AND, where("a", NOT_EQUAL, 1), where("b", NOT_IN, [1]))},
        {"filter": combine(AND, where("a", NOT_IN, [1]), where("b", IN, [1, 2]))},
        {
            "filter": combine(
                OR,
                where("__key__", HAS_ANCESTOR, key("A", 1)),
                where("__key__", HAS_ANCESTOR, key("A", 2)),
            )
        },
        {
            "filter": combine(
                AND,
                *(where(f"p{place}", IN, list(range(30))) for place in range(200)),
            )
        },
        {"projection": ("a", "a")},
        {"projection": ("__other__",)},
        {"projection": ("a",), "filter": where("a", EQUAL, 1)},
        {"order": ("a", "-a")},
        {"distinct": ("a",), "order": ("b", "a")},
        {"distinct": ("a", "a"), "projection": ("a",)},
        {"distinct": ("a",), "filter": where("a", EQUAL, 1)},
        {"distinct": ("a",), "filter": where("a", IN, [1, 2])},
    ],
    ids=lambda query: repr(query)[:60],
)
def test_a_query_that_makes_no_sense_is_refused(raw: RawClient, query: Any) -> None:
    """What the service refuses ends with INVALID_ARGUMENT, not with a wrong answer."""
    raw.upsert(entity(key("A", 1), a=1, b=1))
    code, text = raw.run_error("A", **query)
    assert (code, bool(text)) == (INVALID, True)


@pytest.mark.parametrize(
    "query",
    [
        {"filter": where("a", EQUAL, 1)},
        {"order": ("a",)},
        {"order": ("-__key__",)},
    ],
    ids=str,
)
def test_only_keys_matter_without_a_kind(raw: RawClient, query: Any) -> None:
    """A query over all kinds can filter and order by key alone."""
    assert raw.run_error(**query)[0] == INVALID


def several(operator: int, first: int, last: int) -> list[dict[str, Any]]:
    """Return filters on as many properties."""
    return [where(f"p{number}", operator, 1) for number in range(first, last)]


@pytest.mark.parametrize(
    ("most", "over"),
    [
        ({"filter": combine(AND, *several(GREATER, 0, 10))}, where("p10", LESS, 1)),
        (
            {"filter": combine(AND, *several(GREATER, 0, 10))},
            where("__key__", GREATER, key("A", 1)),
        ),
        (
            {
                "filter": combine(
                    OR,
                    combine(AND, *several(LESS, 0, 5)),
                    combine(AND, *several(NOT_EQUAL, 5, 6), *several(LESS, 6, 10)),
                )
            },
            where("p10", LESS, 1),
        ),
        ({"filter": combine(AND, *several(EQUAL, 0, 100))}, where("x", EQUAL, 1)),
        (
            {"filter": combine(AND, *several(EQUAL, 0, 98)), "order": ("a", "b")},
            where("__key__", HAS_ANCESTOR, key("A", 1)),
        ),
        (
            {
                "filter": combine(
                    AND, where("x", IN, list(range(30))), *several(EQUAL, 0, 70)
                )
            },
            where("y", EQUAL, 1),
        ),
        (
            {"filter": combine(AND, *several(EQUAL, 0, 100), *several(EQUAL, 0, 100))},
            where("y", EQUAL, 1),
        ),
    ],
    ids=["inequality", "key", "or", "filters", "orders", "in", "repeated"],
)
def test_a_query_has_a_limit(raw: RawClient, most: Any, over: Any) -> None:
    """Ten properties with an inequality, 100 filters and orders, and not one more."""
    assert ids(raw.run("A", **most)) == []
    more = {**most, "filter": combine(AND, most["filter"], over)}
    assert raw.run_error("A", **more)[0] == INVALID


@pytest.mark.parametrize("kind", ["", "x" * 1501])
def test_a_kind_that_cannot_be_is_refused(raw: RawClient, kind: str) -> None:
    """A query that names the empty kind is not one over all kinds."""
    raw.upsert(entity(key("A", 1)))
    assert raw.run_error(kind)[0] == INVALID
    nested = {"nested_query": {"kind": [{"name": kind}]}, "aggregations": [COUNT]}
    error = raw.error("RunAggregationQuery", aggregation_query=nested)
    assert error[0] == INVALID


@pytest.mark.parametrize(
    ("rpc", "fields", "name"),
    [
        ("RunQuery", {"gql_query": {"query_string": "SELECT *"}}, "gql_query"),
        ("RunQuery", {"query": {"find_nearest": {}}}, "find_nearest"),
        (
            "RunQuery",
            {"query": {}, "explain_options": {"analyze": True}},
            "explain_options",
        ),
        (
            "RunAggregationQuery",
            {"gql_query": {"query_string": "AGGREGATE"}},
            "gql_query",
        ),
        (
            "Commit",
            {
                "mode": 2,
                "mutations": [
                    {
                        "upsert": entity(key("A", 1)),
                        "property_transforms": [
                            {"property": "n", "increment": value(1)}
                        ],
                    }
                ],
            },
            "property_transforms",
        ),
        (
            "Commit",
            {
                "mode": 2,
                "mutations": [
                    {
                        "upsert": entity(key("A", 1)),
                        "property_mask": {"paths": ["a"]},
                    }
                ],
            },
            "property_mask",
        ),
        (
            "Lookup",
            {"keys": [key("A", 1)], "read_options": {"read_time": {"seconds": 1}}},
            "read_time",
        ),
    ],
    ids=["gql", "vector", "explain", "aggregate-gql", "transform", "mask", "past"],
)
def test_what_is_missing_says_so(
    raw: RawClient, rpc: str, fields: Any, name: str
) -> None:
    """A part of the API that is missing is UNIMPLEMENTED, by name, and does nothing."""
    raw.upsert(entity(key("B", 1)))
    code, text = raw.error(rpc, **fields)
    assert (code, name in text) == (UNIMPLEMENTED, True)
    assert stored(raw, "A", 1) is None


def test_reading_as_of_now_is_possible(raw: RawClient) -> None:
    """A read time is good as long as nothing has changed since."""
    raw.upsert(entity(key("A", 1)))
    read_time = raw.call("Lookup", keys=[key("A", 1)]).read_time
    options = {"read_time": read_time}
    assert raw.call("Lookup", keys=[key("A", 1)], read_options=options).found


def test_the_time_of_a_commit_has_come(
    raw: RawClient, running: RunningDatastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of the last of many: each gets a millisecond, ahead of the clock."""
    ahead = int(time.time() * 1000) + 60_000
    monkeypatch.setattr(running.calls.stub, "_commit_timestamp", ahead)
    commit = raw.upsert(entity(key("A", 1)))
    options = {"read_time": commit.commit_time}
    assert raw.call("Lookup", keys=[key("A", 1)], read_options=options).found


def test_the_future_cannot_be_read(raw: RawClient) -> None:
    """A read time that has not come is refused wherever one can stand."""
    future = {"read_time": {"seconds": int(time.time()) + 3600}}
    for rpc, fields in (
        ("Lookup", {"keys": [key("A", 1)], "read_options": future}),
        ("RunQuery", query_fields("A", read_options=future)),
        ("BeginTransaction", {"transaction_options": {"read_only": future}}),
    ):
        code, text = raw.error(rpc, **fields)
        assert (code, "future" in text) == (INVALID, True)


# --- aggregations --------------------------------------------------------------------


def aggregate(raw: RawClient, *aggregations: Any, **query: Any) -> dict[str, Any]:
    """Return the results of aggregations over kind A, as plain values."""
    fields = query_fields("A", **query)
    nested = fields.pop("query")
    answer = raw.call(
        "RunAggregationQuery",
        aggregation_query={"nested_query": nested, "aggregations": aggregations},
        **fields,
    )
    found = answer.batch.aggregation_results[0].aggregate_properties
    return {
        name: getattr(result, result._pb.WhichOneof("value_type"))
        for name, result in found.items()
    }


def total(name: str, alias: str = "") -> dict[str, Any]:
    """Return a sum aggregation."""
    return {"sum": {"property": {"name": name}}, "alias": alias}


def average(name: str, alias: str = "") -> dict[str, Any]:
    """Return an average aggregation."""
    return {"avg": {"property": {"name": name}}, "alias": alias}


COUNT: dict[str, Any] = {"count": {}}


def test_counts_have_limits_and_names(raw: RawClient) -> None:
    """COUNT and COUNT_UP_TO, named or numbered, within offset and limit."""
    raw.upsert(*(entity(key("A", number), n=number) for number in range(1, 8)))
    assert aggregate(
        raw, {**COUNT, "alias": "all"}, COUNT, {"count": {"up_to": 3}}
    ) == {"all": 7, "property_1": 7, "property_2": 3}
    assert aggregate(raw, {"count": {"up_to": 0}}) == {"property_1": 0}
    assert aggregate(raw, COUNT, offset=5, limit=4) == {"property_1": 2}
    odd = combine(OR, where("n", IN, [1, 3]), where("n", EQUAL, 3))
    assert aggregate(raw, COUNT, filter=odd) == {"property_1": 2}
    assert aggregate(raw, COUNT, filter=where("n", NOT_EQUAL, 4)) == {"property_1": 6}


def test_sums_and_averages_are_over_numbers(raw: RawClient) -> None:
    """Other values are skipped; whole numbers stay whole while they fit."""
    raw.upsert(
        entity(key("A", 1), n=1, f=1.5),
        entity(key("A", 2), n=2, f=2),
        entity(key("A", 3), n="no", f=None),
        entity(key("A", 4)),
    )
    assert aggregate(raw, total("n", "n"), total("f", "f"), average("f", "a")) == {
        "n": 3,
        "f": 3.5,
        "a": 1.75,
    }
    nothing = where("n", GREATER, "z")
    assert aggregate(raw, total("n", "n"), average("n", "a"), filter=nothing) == {
        "n": 0,
        "a": 0,  # null
    }
    raw.upsert(entity(key("A", 5), n=2**63 - 1))
    assert aggregate(raw, total("n", "n")) == {"n": float(2**63)}


def test_large_integers_beside_a_double_are_added_exactly(raw: RawClient) -> None:
    """They cancel each other as integers, before they become a double."""
    numbers = (2**63 - 1, 7.0, -(2**63), float("inf"))
    raw.upsert(*(entity(key("A", n + 1), n=number) for n, number in enumerate(numbers)))
    finite = where("n", LESS, float("inf"))
    assert aggregate(raw, total("n", "n"), average("n", "a"), filter=finite) == {
        "n": 6.0,
        "a": 2.0,
    }
    assert aggregate(raw, total("n", "n")) == {"n": float("inf")}


@pytest.mark.parametrize(
    "aggregations",
    [
        [],
        [{}],
        [COUNT] * 6,
        [{**COUNT, "alias": "a"}, {**COUNT, "alias": "a"}],
        [{**COUNT, "alias": "__a__"}],
        [{"count": {"up_to": -1}}],
        [total("__key__")],
        [total("")],
    ],
    ids=str,
)
def test_an_aggregation_that_makes_no_sense_is_refused(
    raw: RawClient, aggregations: Any
) -> None:
    """One to five aggregations with different names."""
    query = {"aggregations": aggregations, "nested_query": {}}
    assert raw.error("RunAggregationQuery", aggregation_query=query)[0] == INVALID


def test_keys_alone_cannot_be_added_up(raw: RawClient) -> None:
    """A query for keys has no properties to aggregate."""
    query = {
        "aggregations": [total("n")],
        "nested_query": {"projection": [{"property": {"name": "__key__"}}]},
    }
    assert raw.error("RunAggregationQuery", aggregation_query=query)[0] == INVALID


def test_a_negative_id_is_a_key_like_any_other(raw: RawClient) -> None:
    """It can be stored and, though it is never allocated, be reserved."""
    negative = key("P", -1, "A", -5)
    raw.call("ReserveIds", keys=[negative])
    raw.upsert(entity(negative, a=1))
    assert len(raw.call("Lookup", keys=[negative]).found) == 1


def test_a_request_that_fails_leaves_no_transaction(
    raw: RawClient, running: RunningDatastore
) -> None:
    """The one that it has begun ends: its id has reached nobody."""
    query = {
        "aggregations": [total("n")],
        "nested_query": {"projection": [{"property": {"name": "__key__"}}]},
    }
    options: dict[str, Any] = {"new_transaction": {}}
    code, _ = raw.error(
        "RunAggregationQuery", aggregation_query=query, read_options=options
    )
    assert code == INVALID
    assert not running.do(lambda: dict(running.server._transactions._open))


# --- whatever is sent ----------------------------------------------------------------


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x08", struct.pack(">q", -1)])
def test_bytes_that_are_no_request_are_refused(raw: RawClient, data: bytes) -> None:
    """Garbage in place of a message is the client's mistake; the server goes on."""
    for rpc in ("Lookup", "RunQuery", "Commit", "BeginTransaction"):
        with pytest.raises(grpc.RpcError) as error:
            raw.bytes(rpc, data)
        assert error.value.code() in {INVALID, grpc.StatusCode.PERMISSION_DENIED}
    assert raw.upsert(entity(key("A", 1))).mutation_results


def test_a_call_whose_time_is_up_is_not_carried_out(running: RunningDatastore) -> None:
    """A client that waits for a nanosecond hears that it was too short, every time."""
    with grpc.insecure_channel(running.host) as channel:
        lookup: Any = channel.unary_unary("/google.datastore.v1.Datastore/Lookup")
        for timeout in [1e-9] * 30:
            with pytest.raises(grpc.RpcError) as error:
                lookup(b"", timeout=timeout)
            assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_an_unknown_rpc_is_unimplemented(raw: RawClient) -> None:
    """A method that the service does not have is UNIMPLEMENTED."""
    with pytest.raises(grpc.RpcError) as error:
        raw.bytes("ImportEntities", b"")
    assert error.value.code() == UNIMPLEMENTED


def test_a_fault_of_the_server_shows_no_traceback(
    raw: RawClient,
    running: RunningDatastore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The client gets INTERNAL and one sentence; the log has the rest."""

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(results, "mask_of", broken)
    code, text = raw.error("Lookup", keys=[key("A", 1)])
    assert code == grpc.StatusCode.INTERNAL
    assert "secret" not in text
    assert "Traceback" not in text
    assert "secret" in caplog.text
    monkeypatch.undo()
    assert raw.call("Lookup", keys=[key("A", 1)]).missing


def test_debug_shows_each_call(
    raw: RawClient, caplog: pytest.LogCaptureFixture
) -> None:
    """With the time it took, also when it fails."""
    with caplog.at_level(logging.DEBUG, logger="gae_devserver"):
        raw.call("Lookup", keys=[key("A", 1)])
        raw.error("Lookup", keys=[key("A")])
        shown = re.compile(r"API call Datastore\.Lookup \d+\.\d ms")

        def calls() -> int:
            return sum(bool(shown.fullmatch(message)) for message in caplog.messages)

        # the client has the error before the server has logged it
        wait_until(lambda: calls() == 2, "both calls in the log")


def test_what_was_not_stored_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """On a full disk, for example, the client gets INTERNAL, and the log one line."""

    def flush(rpc: str) -> None:
        raise StorageError("the file cannot be written")

    running = RunningDatastore(before_answer=flush)
    client = RawClient(running.host)
    try:
        code, text = client.error("Lookup", keys=[key("A", 1)])
    finally:
        client.close()
        running.stop()
    assert (code, text) == (grpc.StatusCode.INTERNAL, "the file cannot be written")
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert "Datastore.Lookup" in record.getMessage()
    assert record.getMessage().endswith(": the file cannot be written")
    assert "Traceback" not in caplog.text


def test_a_taken_port_is_an_error(running: RunningDatastore) -> None:
    """A second server on the port fails instead of sharing it."""
    with pytest.raises((OSError, AssertionError)):
        _start_on(running.port)


def _start_on(port: int) -> None:
    import asyncio

    from gae_devserver.datastore.calls import DatastoreCalls
    from gae_devserver.datastore.entity_locks import EntityGroupLocks
    from gae_devserver.datastore.stub import Datastore
    from gae_devserver.datastore_v1.server import DatastoreV1
    from tests.helpers.calls import APP_ID

    async def start() -> None:
        calls = DatastoreCalls(Datastore(APP_ID), EntityGroupLocks())
        await DatastoreV1(calls, APP_ID).start(port)

    asyncio.run(start())
