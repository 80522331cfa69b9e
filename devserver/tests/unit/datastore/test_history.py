"""What a store remembers of its past, for how long, and what that takes."""

import tracemalloc
import weakref
from pathlib import Path
from typing import Any

from google.appengine.datastore import datastore_stub_util
from google.appengine.datastore import entity_bytes_pb2 as entity_pb
from hypothesis import given, settings
from hypothesis import strategies as st

from gae_devserver.datastore.history import Bounds
from gae_devserver.datastore.stub import Datastore
from gae_devserver.datastore.views import View
from gae_devserver.storage.storage import Storage
from tests.helpers.calls import APP_ID, Message, reference
from tests.helpers.entities import entity_of

ENTITIES = [("A", 1), ("A", 2), ("B", 1)]
KIBIBYTE = 1024
ALL = range(2000)


def put(store: Datastore, *key: Any, **values: Any) -> int:
    """Put an entity and return the version of the commit."""
    return store.write([entity_of(reference(*key), **values)], [])


def content(view: View) -> dict[Any, Any]:
    """Return the values of "n" by kind and id, found by key."""
    rows = {
        (kind, number): view.row("", (kind, 0, number)) for kind, number in ENTITIES
    }
    return {key: row.values("n") for key, row in rows.items() if row}


def listed(view: View) -> dict[Any, Any]:
    """Return the values of "n" by kind and id, found by queries."""
    return {
        (kind, path[-1]): row.values("n")
        for namespace, kind in view.kinds()
        for path, row in view.kind((namespace, kind)).rows.items()
    }


@given(
    memory=st.sampled_from([0, 2 * KIBIBYTE, 64 * KIBIBYTE]),
    changes=st.lists(
        st.tuples(st.sampled_from(ENTITIES), st.booleans(), st.booleans()), max_size=30
    ),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_each_time_shows_what_was_stored_then(memory: int, changes: list[Any]) -> None:
    """A snapshot always does; a new view of a time does as far as the history goes."""
    store = Datastore(APP_ID, remembered=Bounds(memory=memory))
    states: dict[int, dict[Any, Any]] = {store.read_time(): {}}
    snapshots: list[tuple[View, dict[Any, Any]]] = [(store.snapshot(), {})]
    for n, (key, deletes, takes_snapshot) in enumerate(changes):
        if deletes:
            version = store.write([], [reference(*key)])
        else:
            version = put(store, *key, n=[n])
        state = states[version] = content(store)
        assert listed(store) == state
        if takes_snapshot:
            snapshots.append((store.snapshot(), state))
    earliest = store.history.earliest(store.read_time())
    for version, state in states.items():
        if version >= earliest:
            assert content(store.as_of(version)) == state
            assert listed(store.as_of(version)) == state
    for snapshot, state in snapshots:
        assert content(snapshot) == listed(snapshot) == state
    if memory > len(changes) * KIBIBYTE:
        assert earliest <= min(states), "there was no reason to forget anything"


def test_a_snapshot_names_only_what_has_changed() -> None:
    """Of each key that has changed since, it has what was there; None for nothing."""
    store = Datastore(APP_ID)
    for n in range(100):
        put(store, "A", n + 1, n=[n])
    snapshot = store.snapshot()
    assert snapshot.replaced(("", "A")) == {}
    for n in (7, 8):
        put(store, "A", 1, n=[n])
    put(store, "A", 101, n=[0])
    put(store, "B", 1, n=[0])
    replaced = snapshot.replaced(("", "A"))
    assert {path[-1]: row and row.values("n") for path, row in replaced.items()} == {
        1: [(1, 0)],
        101: None,
    }


def test_the_history_takes_no_more_than_its_bound() -> None:
    """Twenty times as many changes leave the last ones, in that memory."""
    bound = 128 * KIBIBYTE
    store = Datastore(APP_ID, remembered=Bounds(memory=bound))
    entities = [entity_of(reference("A", 1), n=[n], text=["x" * 1000]) for n in ALL]
    tracemalloc.start()
    try:
        for changed in entities:
            version = store.write([changed], [])
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert used < 1.25 * bound
    row = store.as_of(store.history.earliest(version)).row("", ("A", 0, 1))
    assert row
    ((_, oldest),) = row.values("n")
    assert len(ALL) - bound / 1000 < oldest < len(ALL) - bound / 2 / 1000


def test_a_view_of_the_past_ends_with_the_history_of_its_time() -> None:
    """The store keeps the last one only as long as another read can ask for it."""
    store = Datastore(APP_ID, remembered=Bounds(memory=16 * KIBIBYTE))
    put(store, "A", 1, n=[0])
    moment = store.read_time()
    past = weakref.ref(store.as_of(moment))
    put(store, "A", 1, n=[1])
    assert past() is store.as_of(moment)
    for n in range(100):
        put(store, "A", n + 2, n=[n])
    assert store.history.earliest(store.read_time()) > moment
    assert past() is None


def test_no_change_is_remembered_for_longer_than_its_time() -> None:
    """A later change drops it, and no view of a time before it can begin."""
    store = Datastore(APP_ID, remembered=Bounds(seconds=0.0))
    for n in range(100):
        version = put(store, "A", 1, n=[n])
    assert store.history.earliest(version) == version
    assert len(store.history.after(0)) <= 1


def test_a_restart_begins_a_new_history(tmp_path: Path) -> None:
    """The storage has no older versions, so nothing from before can be read."""
    storage = Storage(tmp_path, "unit")
    version = put(Datastore(APP_ID, storage), "A", 1, n=[1])
    storage.flush()
    store = Datastore(APP_ID, storage)
    now = store.read_time()
    assert version < store.history.earliest(now) <= now
    assert content(store.as_of(now)) == {("A", 1): [(1, 1)]}


def test_versions_in_milliseconds_become_microseconds(tmp_path: Path) -> None:
    """Earlier releases have stored them; the times of entities stay the same."""

    def stored(key: Message, **versions: int) -> None:
        metadata = entity_pb.EntityMetadata(**versions)
        record = datastore_stub_util.EntityRecord(entity_of(key, n=[1]), metadata)
        encoded = datastore_stub_util._ToStorageEntity(record).SerializeToString()
        storage.put_entity("", key.SerializeToString(), encoded)

    storage = Storage(tmp_path, "unit")
    then, earlier = 1_700_000_000_000, 1_600_000_000_000
    stored(reference("A", 1), updated_version=then, created_version=earlier)
    stored(reference("A", 2), updated_version=then * 1000 + 1)
    storage.flush()
    store = Datastore(APP_ID, storage)
    rows = [store.row("", ("A", 0, number)) for number in (1, 2)]
    assert [(row.version, row.created) for row in rows if row] == [
        (then * 1000, earlier * 1000),
        (then * 1000 + 1, then * 1000 + 1),
    ]
