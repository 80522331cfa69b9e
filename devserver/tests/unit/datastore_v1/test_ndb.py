"""Cloud NDB on the dev server's datastore: namespaces, large and deep data."""

# the models of a library without types
# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False
# mypy: disallow-untyped-calls=False

import os
from typing import Any

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
