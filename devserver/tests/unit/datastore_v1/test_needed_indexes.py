"""Which queries of either library need an index, and what happens without it."""

# the models of a library without types
# mypy: disallow-subclassing-any=False

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api_core.exceptions import FailedPrecondition
from google.appengine.api import datastore_errors
from google.appengine.ext import ndb as bundled
from google.cloud import ndb as cloud
from google.cloud.ndb import exceptions

from gae_devserver.config.index_yaml import IndexYaml, load_index_yaml, yaml_of
from gae_devserver.datastore.needed_indexes import NeededIndexes, WhenMissing
from gae_devserver.datastore.query_shape import QueryShape
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
    key,
    query_fields,
    where,
)
from tests.helpers.running_datastore import RunningDatastore


class Switch:
    """The indexes of the test that runs now."""

    indexes: NeededIndexes

    def check(self, shape: QueryShape) -> None:
        """Pass on a query."""
        self.indexes.check(shape)


@pytest.fixture(scope="module")
def switch() -> Switch:
    """What gets the queries."""
    return Switch()


@pytest.fixture(scope="module")
def running(switch: Switch) -> Iterator[RunningDatastore]:
    """A server whose queries are checked."""
    running = RunningDatastore(on_query=switch.check)
    yield running
    running.stop()


MakeIndexes = Callable[..., NeededIndexes]


@pytest.fixture
def make_indexes(switch: Switch, tmp_path: Path) -> MakeIndexes:
    """Begin with the text of an index.yaml."""

    def make(text: str = "", when_missing: WhenMissing = "report") -> NeededIndexes:
        path = tmp_path / "index.yaml"
        if text:
            path.write_text(text)
        file = load_index_yaml(path)
        switch.indexes = NeededIndexes(path, file, when_missing)
        return switch.indexes

    return make


@pytest.fixture
def indexes(make_indexes: MakeIndexes) -> NeededIndexes:
    """The indexes without an index.yaml."""
    return make_indexes()


@pytest.fixture(params=["bundled", "cloud"])
def ndb(
    request: pytest.FixtureRequest, running: RunningDatastore, client: cloud.Client
) -> Iterator[Any]:
    """One of the libraries."""
    if request.param == "cloud":
        with client.context(cache_policy=False):
            yield cloud
    else:
        with running.bundled():
            yield bundled


def brief(indexes: NeededIndexes) -> list[str]:
    """Return the missing indexes, such as "A: x y-"; ^ stands for the ancestor."""
    found = []
    for kind, ancestor, specs in indexes.missing():
        names = [f"{spec.name}{'-' * (spec.direction == 2)}" for spec in specs]
        found.append(f"{kind}:{' ^' if ancestor else ''} {' '.join(names)}")
    return found


QUERIES: dict[str, tuple[Callable[[Any, Any], Any], list[str]]] = {
    "equal": (lambda ndb, m: m.query(m.x == 1, m.y == 2), []),
    "range": (lambda ndb, m: m.query(m.x > 1, m.x < 5), []),
    "order": (lambda ndb, m: m.query().order(-m.x), []),
    "order of a constant": (lambda ndb, m: m.query(m.x == 1).order(-m.x), []),
    "equal, order": (lambda ndb, m: m.query(m.x == 1).order(-m.y), ["A: x y-"]),
    "equal, range": (lambda ndb, m: m.query(m.z == 1, m.x > 5), ["A: z x"]),
    "orders": (lambda ndb, m: m.query().order(m.x, -m.y), ["A: x y-"]),
    "range, order": (lambda ndb, m: m.query(m.x > 1).order(m.x, m.y), ["A: x y"]),
    "!=": (lambda ndb, m: m.query(m.x != 1).order(m.x, m.y), ["A: x y"]),
    "IN": (lambda ndb, m: m.query(m.x.IN([1, 2])).order(m.y), ["A: x y"]),
    "OR": (
        lambda ndb, m: m.query(ndb.OR(m.x == 1, m.y == 2)).order(m.z),
        ["A: x z", "A: y z"],
    ),
    "ancestor": (lambda ndb, m: m.query(m.x == 1, ancestor=ndb.Key("P", 1)), []),
    "ancestor, range": (
        lambda ndb, m: m.query(m.x > 1, ancestor=ndb.Key("P", 1)),
        ["A: ^ x"],
    ),
    "ancestor of any kind": (lambda ndb, m: ndb.Query(ancestor=ndb.Key("P", 1)), []),
    "key": (lambda ndb, m: m.query(m._key > ndb.Key("A", 1)).order(m._key), []),
    "key descending": (lambda ndb, m: m.query().order(-m._key), ["A: __key__-"]),
    "keys only": (lambda ndb, m: m.query(m.x == 1, m.y > 1), ["A: x y"]),
    "projection": (lambda ndb, m: m.query(projection=["y", "x"]), ["A: x y"]),
    "projection of one": (lambda ndb, m: m.query(projection=["x"]), []),
    "distinct": (
        lambda ndb, m: (
            m.query(m.z == 1, projection=["x"], distinct_on=["x"])
            if ndb is cloud
            else m.query(m.z == 1, projection=["x"], group_by=["x"])
        ),
        ["A: z x"],
    ),
    "namespace": (
        lambda ndb, m: m.query(m.x == 1, namespace="n").order(m.y),
        ["A: x y"],
    ),
}


@pytest.mark.parametrize(("query", "needed"), QUERIES.values(), ids=QUERIES)
def test_queries_of_both_libraries(
    indexes: NeededIndexes, ndb: Any, query: Any, needed: list[str]
) -> None:
    """The libraries need the same indexes for the same query."""

    class A(ndb.Model):
        x = ndb.IntegerProperty()
        y = ndb.IntegerProperty()
        z = ndb.IntegerProperty()

    query(ndb, A).fetch(2)
    assert brief(indexes) == needed


def equal(name: str) -> dict[str, Any]:
    """Return a filter."""
    return where(name, EQUAL, 1)


COUNT: dict[str, Any] = {"count": {}}
SUM: dict[str, Any] = {"sum": {"property": {"name": "y"}}}


@pytest.mark.parametrize(
    ("needed", "fields"),
    [
        (["A: x y"], {"filter": where("x", IN, [1, 2]), "order": ["y"]}),
        (
            ["A: x z", "A: y z"],
            {"filter": combine(OR, equal("x"), equal("y")), "order": ["z"]},
        ),
        ([], {"filter": where("x", NOT_EQUAL, 1)}),
        (["A: x y"], {"filter": combine(AND, equal("x"), where("y", NOT_IN, [1, 2]))}),
        (
            ["A: x y"],
            {"filter": combine(AND, where("y", GREATER, 1), where("x", LESS, 1))},
        ),
        (["A: y x"], {"filter": where("x", GREATER, 1), "order": ["y"]}),
        (
            [],
            {
                "filter": combine(
                    AND, where("__key__", GREATER, key("A", 1)), where("x", LESS, 1)
                )
            },
        ),
    ],
)
def test_queries_of_version_1(
    indexes: NeededIndexes, raw: RawClient, needed: list[str], fields: dict[str, Any]
) -> None:
    """Each alternative of IN and OR needs an index; so do several inequalities."""
    raw.run("A", **fields)
    assert brief(indexes) == needed


def test_aggregations_and_named_databases(
    indexes: NeededIndexes, raw: RawClient
) -> None:
    """A sum needs the property in the index; every database needs the indexes."""
    query = query_fields("A", filter=equal("x"))["query"]
    for aggregation in (COUNT, SUM):
        nested = {"nested_query": query, "aggregations": [aggregation]}
        raw.call("RunAggregationQuery", aggregation_query=nested)
    assert brief(indexes) == ["A: x y"]
    fields = query_fields("B", order=("x", "y"))
    fields["partition_id"]["database_id"] = "other"
    raw.call("RunQuery", database_id="other", **fields)
    assert brief(indexes) == ["A: x y", "B: x y"]


def test_metadata_kinds_need_no_index(indexes: NeededIndexes, raw: RawClient) -> None:
    """No index can be declared for them."""
    raw.run("__property__", filter=where("__key__", HAS_ANCESTOR, key("__kind__", "A")))
    assert brief(indexes) == []


def query_of(ndb: Any, *names: str) -> Any:
    """Return a query of A by these properties that sorts by d, descending."""
    filters = [ndb.GenericProperty(name) == 1 for name in names]

    class A(ndb.Expando):
        pass

    return A.query(*filters).order(-ndb.GenericProperty("d"))


MERGED = """\
indexes:
- kind: A
  properties: [{name: b}, {name: d, direction: desc}]
- kind: A
  properties: [{name: a}, {name: d, direction: desc}]
"""


def test_indexes_are_merged(make_indexes: MakeIndexes, ndb: Any) -> None:
    """Two indexes with the same order serve a query by both, as in production."""
    indexes = make_indexes(MERGED)
    query_of(ndb, "a", "b").fetch(1)
    assert brief(indexes) == []
    query_of(ndb, "a", "b", "c").fetch(1)
    assert brief(indexes) == ["A: a b c d-"]


REFUSED = (
    datastore_errors.NeedIndexError,
    FailedPrecondition,
    # Cloud NDB's own in a transaction
    exceptions.NestedRetryException,
)


@pytest.mark.parametrize("transactional", [False, True])
def test_a_query_is_refused(
    make_indexes: MakeIndexes, ndb: Any, transactional: bool
) -> None:
    """The error is production's, and has the entry for index.yaml; as often as asked.

    A query is refused inside a transaction, too.
    """
    indexes = make_indexes(when_missing="refuse")

    class A(ndb.Model):
        x = ndb.IntegerProperty()

    query = A.query(A.x > 1, ancestor=ndb.Key("P", 1))

    def fetch() -> None:
        with pytest.raises(REFUSED) as caught:
            query.fetch()
        (needed,) = indexes.missing()
        text = "no matching index found. recommended index is:"
        assert f"{text}\n{yaml_of(needed)}\n" in str(caught.value)

    for _ in range(2):
        ndb.transaction(fetch) if transactional else fetch()
    A.query(A.x > 1).fetch()


def test_an_invalid_query_needs_no_index(
    make_indexes: MakeIndexes, raw: RawClient
) -> None:
    """It is refused for what is wrong with it."""
    indexes = make_indexes(when_missing="refuse")
    code, _ = raw.run_error("A", order=("x", "x"))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert brief(indexes) == []


def test_an_index_is_logged_once(
    make_indexes: MakeIndexes, ndb: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged when it is first needed, and again after a reset."""
    caplog.set_level(logging.INFO, "gae_devserver")
    indexes = make_indexes()
    for _ in range(2):
        query_of(ndb, "a").fetch(1)
        query_of(ndb, "a").fetch(keys_only=True)
    (record,) = caplog.records
    assert "A (a, d desc)" in record.getMessage()
    indexes.clear()
    assert brief(indexes) == []
    query_of(ndb, "a").fetch(1)
    assert len(caplog.records) == 2


def test_indexes_are_written(
    make_indexes: MakeIndexes, ndb: Any, tmp_path: Path
) -> None:
    """What is written is no longer missing; a broken file is left until it is fixed."""
    indexes = make_indexes(when_missing="write")
    query_of(ndb, "a").fetch(1)
    assert brief(indexes) == []
    written = (tmp_path / "index.yaml").read_text()
    assert len(load_index_yaml(tmp_path / "index.yaml").keys) == 1
    (tmp_path / "index.yaml").write_text("indexes: [")
    query_of(ndb, "b").fetch(1)
    assert brief(indexes) == ["A: b d-"]
    assert (tmp_path / "index.yaml").read_text() == "indexes: ["
    (tmp_path / "index.yaml").write_text(written)
    indexes.apply(load_index_yaml(tmp_path / "index.yaml"))
    # this one is as before the mistake
    query_of(ndb, "c").fetch(1)
    assert len(load_index_yaml(tmp_path / "index.yaml").keys) == 3


def test_an_edit_takes_effect(make_indexes: MakeIndexes, ndb: Any) -> None:
    """Indexes that the user adds are no longer missing; deleted ones are again."""
    indexes = make_indexes(MERGED)
    query_of(ndb, "a").fetch(1)
    query_of(ndb, "c").fetch(1)
    indexes.apply(IndexYaml(exists=True))
    query_of(ndb, "a").fetch(1)
    assert brief(indexes) == ["A: a d-", "A: c d-"]
