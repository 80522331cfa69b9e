"""Cloud NDB on the dev server's datastore: namespaces, large and deep data."""

# the models of a library without types
# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False
# mypy: disallow-untyped-calls=False

import os
from typing import Any

import pytest
from google.cloud import ndb

from tests.helpers.running_datastore import RunningDatastore


class Thing(ndb.Model):
    """An entity with a number or with data."""

    n = ndb.IntegerProperty()
    data = ndb.BlobProperty()


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
