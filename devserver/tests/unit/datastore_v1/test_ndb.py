"""Cloud NDB on the dev server's datastore: keys, batches, threads, older data."""

# the models of a library without types
# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False
# mypy: disallow-untyped-calls=False

import concurrent.futures
import datetime
import os
import pickle
from typing import Any

import pytest
from google.cloud import ndb
from google.cloud.datastore import Entity
from google.cloud.ndb import _datastore_api, _options

from tests.helpers.running_datastore import RunningDatastore


class Thing(ndb.Model):
    """An entity with a number or with data."""

    n = ndb.IntegerProperty()
    data = ndb.BlobProperty()


def test_an_entity_is_put_changed_and_deleted(context: Any) -> None:
    """An entity gets an id from the datastore, and can be deleted twice."""
    new = Thing(n=1).put()
    assert isinstance(new.id(), int)
    thing = new.get()
    thing.n = 2
    assert thing.put() == new
    assert new.get().n == 2
    new.delete()
    assert new.get() is None
    new.delete()


def test_keys_have_names_ids_and_parents(context: Any) -> None:
    """get_by_id and get_or_insert find by id or name, below a parent or not."""
    parent = ndb.Key("Parent", "p")
    Thing(id="name", n=1).put()
    Thing(id=5, n=2).put()
    Thing(id="name", parent=parent, n=3).put()
    assert Thing.get_by_id("name").n == 1
    assert Thing.get_by_id(5).n == 2
    assert Thing.get_by_id("name", parent=parent).n == 3
    assert Thing.get_by_id("other") is None
    assert Thing.get_or_insert("name", n=9).n == 1
    assert Thing.get_or_insert("new", n=9).n == 9
    assert Thing.get_by_id("new").n == 9
    allocated = Thing.allocate_ids(3, parent=parent)
    assert len({key.id() for key in allocated}) == 3
    assert {key.parent() for key in allocated} == {parent}


def test_many_entities_go_in_one_call(context: Any) -> None:
    """put_multi, get_multi and delete_multi take more than Cloud NDB's batch size."""
    keys = ndb.put_multi([Thing(n=n) for n in range(1100)])
    assert [thing.n for thing in ndb.get_multi(keys)] == list(range(1100))
    ndb.delete_multi(keys[:-1])
    assert ndb.get_multi(keys[-2:]) == [None, keys[-1].get()]


def test_threads_and_tasklets_share_a_client(client: ndb.Client) -> None:
    """Ten threads with a context each, and calls side by side in one, all finish."""

    def insert(n: int) -> Any:
        with client.context(cache_policy=False):
            return Thing(n=n).put()

    with concurrent.futures.ThreadPoolExecutor(10) as executor:
        keys = list(executor.map(insert, range(30)))

    @ndb.tasklet
    def both(one: Any, other: Any) -> Any:
        first, second = yield one.get_async(), other.get_async()
        return first.n + second.n

    with client.context(cache_policy=False):
        assert both(keys[3], keys[4]).result() == 7
        futures = [key.get_async() for key in keys]
        assert [future.result().n for future in futures] == list(range(30))


def test_namespaces_and_databases_are_apart(
    running: RunningDatastore, empty: None
) -> None:
    """A client's namespace and database are those of its keys and queries."""
    places: list[dict[str, str]] = [
        {},
        {"namespace": "other"},
        {"database": "second"},
        {"database": "second", "namespace": "other"},
    ]
    clients = [running.client(**place) for place in places]
    for n, client in enumerate(clients):
        with client.context(cache_policy=False):
            Thing(id=1, n=n).put()
    for n, (client, place) in enumerate(zip(clients, places, strict=True)):
        with client.context(cache_policy=False):
            assert Thing.get_by_id(1).n == n
            (found,) = Thing.query()
            assert found.n == n
            assert (found.key.namespace() or "") == place.get("namespace", "")
            assert (found.key.database() or "") == place.get("database", "")
    with clients[0].context(namespace="other", cache_policy=False):
        assert Thing.get_by_id(1).n == 1
        assert Thing.query(namespace="").get().n == 0
    for client in clients:
        client.stub.close()


def test_a_big_answer_and_a_big_request_get_through(context: Any) -> None:
    """GRPC's usual limit of 4 MiB does not limit put_multi, get_multi and queries."""
    things = [Thing(id=n, data=os.urandom(500_000)) for n in range(1, 16)]
    ndb.put_multi(things)
    assert ndb.get_multi([thing.key for thing in things]) == things
    assert sorted(Thing.query(), key=lambda thing: thing.key.id()) == things


# --- properties that only Cloud NDB writes -------------------------------------------


def test_a_time_with_a_zone(context: Any) -> None:
    """A property with tzinfo, or of no given type, keeps the zone of a time."""

    class Meeting(ndb.Model):
        zoned = ndb.DateTimeProperty(tzinfo=datetime.UTC)
        generic = ndb.GenericProperty()

    moment = datetime.datetime(2020, 2, 29, 12, tzinfo=datetime.UTC)
    found = Meeting(zoned=moment, generic=moment).put().get()
    assert (found.zoned, found.generic) == (moment, moment)


@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "embedded"])
def test_deep_structures(client: ndb.Client, legacy: bool) -> None:
    """Structured properties may nest, and repeat on one level."""

    class Inner(ndb.Model):
        n = ndb.IntegerProperty()
        data = ndb.JsonProperty(compressed=True)

    class Middle(ndb.Model):
        inner = ndb.StructuredProperty(Inner)
        name = ndb.StringProperty()

    class Outer(ndb.Model):
        middle = ndb.StructuredProperty(Middle)
        middles = ndb.StructuredProperty(Middle, repeated=True)
        local = ndb.LocalStructuredProperty(Middle, repeated=True)

    def middle(n: int) -> Middle:
        return Middle(name=f"m{n}", inner=Inner(n=n))

    def count(name: str, n: int) -> int:
        # Cloud NDB cannot evaluate `Outer.middle.inner.n == 1` on this Python.
        return Outer.query(ndb.FilterNode(name, "=", n)).count()

    with client.context(cache_policy=False, legacy_data=legacy):
        outer = Outer(
            middle=Middle(inner=Inner(n=1, data={"a": 1}), name="x"),
            middles=[middle(2), middle(3)],
            local=[middle(4), middle(5)],
        )
        assert outer.put().get().to_dict() == outer.to_dict()
        assert [count("middle.inner.n", n) for n in (1, 3)] == [1, 0]
        assert [count("middles.inner.n", n) for n in (1, 3)] == [0, 1]


# --- data of older libraries ---------------------------------------------------------


class Shade(ndb.Model):
    """A structure."""

    name = ndb.StringProperty()
    value = ndb.IntegerProperty()


class Stored(ndb.Model):
    """Properties that older libraries write in another form."""

    structured = ndb.StructuredProperty(Shade)
    structures = ndb.StructuredProperty(Shade, repeated=True)
    pickled = ndb.PickleProperty()


def test_data_of_older_libraries_can_be_read(context: Any) -> None:
    """Dotted properties, also repeated ones, and pickles of protocol 2 are known."""
    stored = Entity(Stored(id=1).key._key, exclude_from_indexes=["pickled"])
    stored.update(
        {
            "structured.name": "red",
            "structured.value": 7,
            "structures.name": ["one", "two"],
            "structures.value": [1, None],
            "pickled": pickle.dumps([1], protocol=2),
        }
    )
    _datastore_api.put(stored, _options.Options()).result()
    found = Stored.get_by_id(1)
    assert (found.structured.name, found.structured.value) == ("red", 7)
    structures = [(shade.name, shade.value) for shade in found.structures]
    assert structures == [("one", 1), ("two", None)]
    assert found.pickled == [1]
