"""One store, two libraries: what one NDB writes the other reads, finds and changes."""

# the models of a library without types
# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False

import datetime
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from google.appengine.api import users
from google.appengine.datastore.datastore_stub_util import ToScatteredId
from google.appengine.ext import blobstore
from google.appengine.ext import ndb as bundled
from google.appengine.ext.ndb import polymodel
from google.cloud import ndb as cloud
from google.cloud.ndb import _retry

from gae_devserver.datastore_v1 import transactions
from tests.helpers.calls import APP_ID, PROJECT
from tests.helpers.running_datastore import RunningDatastore


@pytest.fixture(scope="module")
def running() -> Iterator[RunningDatastore]:
    """A server for all tests of the module."""
    running = RunningDatastore()
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def _both(running: RunningDatastore, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A context of each library on an empty datastore, without caches."""
    monkeypatch.setattr(_retry, "_DEFAULT_INITIAL_DELAY", 0.001)
    monkeypatch.setattr(transactions, "PATIENCE", 0.05)
    running.clear()
    client = running.client()
    with client.context(cache_policy=False), running.bundled():
        bundled.get_context().set_cache_policy(False)
        bundled.get_context().set_memcache_policy(False)
        yield
    client.stub.close()


def models(ndb: Any) -> dict[str, Any]:
    """Return the same models, made with one library."""

    class Color(ndb.Model):
        name = ndb.StringProperty()
        value = ndb.IntegerProperty()

    class Everything(ndb.Model):
        integer = ndb.IntegerProperty()
        floating = ndb.FloatProperty()
        boolean = ndb.BooleanProperty()
        string = ndb.StringProperty()
        text = ndb.TextProperty()
        text_zipped = ndb.TextProperty(compressed=True)
        blob = ndb.BlobProperty()
        blob_indexed = ndb.BlobProperty(indexed=True)
        blob_zipped = ndb.BlobProperty(compressed=True)
        json = ndb.JsonProperty()
        json_zipped = ndb.JsonProperty(compressed=True)
        pickled = ndb.PickleProperty()
        point = ndb.GeoPtProperty()
        user = ndb.UserProperty()
        key_property = ndb.KeyProperty()
        moment = ndb.DateTimeProperty()
        day = ndb.DateProperty()
        time = ndb.TimeProperty()
        generic = ndb.GenericProperty()
        computed = ndb.ComputedProperty(lambda self: (self.string or "").upper())
        structured = ndb.StructuredProperty(Color)
        local = ndb.LocalStructuredProperty(Color)
        local_zipped = ndb.LocalStructuredProperty(Color, compressed=True)
        renamed = ndb.StringProperty("other_name")
        integers = ndb.IntegerProperty(repeated=True)
        strings = ndb.StringProperty(repeated=True)
        structures = ndb.StructuredProperty(Color, repeated=True)
        locals = ndb.LocalStructuredProperty(Color, repeated=True)

    class Counter(ndb.Model):
        count = ndb.IntegerProperty(default=0)

    class Loose(ndb.Expando):
        name = ndb.StringProperty()

    base: Any = cloud.PolyModel if ndb is cloud else polymodel.PolyModel

    class Animal(base):
        name = ndb.StringProperty()

    class Cat(Animal):
        lives = ndb.IntegerProperty()

    return {
        "Color": Color,
        "Everything": Everything,
        "Counter": Counter,
        "Loose": Loose,
        "Animal": Animal,
        "Cat": Cat,
    }


MODELS = {bundled: models(bundled), cloud: models(cloud)}
DIRECTIONS = [(bundled, cloud), (cloud, bundled)]
DIRECTION_IDS = ["bundled-to-cloud", "cloud-to-bundled"]


def make(ndb: Any, content: Any) -> Any:
    """Return a value in the form of one library."""
    match content:
        case ("color", name, number):
            return MODELS[ndb]["Color"](name=name, value=number)
        case ("point", latitude, longitude):
            return ndb.GeoPt(latitude, longitude)
        case ("user", email, domain):
            kind = users.User if ndb is bundled else cloud.User
            return kind(email, domain)
        case ("key", *path):
            place = {"app": APP_ID} if ndb is bundled else {"project": PROJECT}
            return ndb.Key(*path, **place)
        case list():
            return [make(ndb, item) for item in content]
    return content


def plain(content: Any) -> Any:
    """Return a value in a form that does not tell the library."""
    match content:
        case list():
            return [plain(item) for item in content]
        case bundled.Model() | cloud.Model():
            return ("color", content.name, content.value)
        case bundled.GeoPt() | cloud.GeoPt():
            return (
                "point",
                getattr(content, "latitude", getattr(content, "lat", None)),
                getattr(content, "longitude", getattr(content, "lon", None)),
            )
        case users.User() | cloud.User():
            return ("user", content.email(), content.auth_domain())
        case bundled.Key() | cloud.Key():
            return ("key", *content.flat())
        case datetime.datetime():
            return content.replace(tzinfo=None)
    return content


VALUES: dict[str, list[Any]] = {
    "integer": [0, -(2**63), 2**63 - 1],
    "floating": [0.5, -1e300],
    "boolean": [True, False],
    "string": ["", "naïve ☃"],
    "text": ["long " * 1000],
    "text_zipped": ["long ☃" * 1000],
    "blob": [b"\xff" * 5000],
    "blob_indexed": [b"\xff\x00"],
    "blob_zipped": [b"long " * 1000],
    "json": [{"a": [1, 2, {"b": None}]}],
    "json_zipped": [{"a": ["x" * 5000]}],
    "pickled": [{"a": (1, "x", None)}],
    "point": [("point", 52.5, -13.25)],
    "user": [("user", "a@example.com", "example.com")],
    "key_property": [("key", "A", 1, "B", "b")],
    "moment": [datetime.datetime(2020, 2, 29, 23, 59, 59, 999999)],
    "day": [datetime.date(1969, 12, 31)],
    "time": [datetime.time(23, 59, 59, 999999)],
    "generic": [5, 1.5, True],
    "structured": [("color", "red", 1), ("color", None, None)],
    "local": [("color", "red", 1)],
    "local_zipped": [("color", "red", 1)],
    "renamed": ["x"],
    "integers": [[], [3, 1, 2, 1]],
    "strings": [["b", "", "a"]],
    "structures": [[], [("color", "red", 1), ("color", "blue", None)]],
    "locals": [[("color", "red", 1), ("color", "blue", None)]],
}
CASES = [(name, content) for name, contents in VALUES.items() for content in contents]
SEARCHABLE = [
    (name, content)
    for name, content in CASES
    if name
    in {
        *("integer", "floating", "boolean", "string", "blob_indexed", "point"),
        *("key_property", "moment", "day", "time", "generic", "renamed"),
    }
]


@pytest.mark.parametrize(("writer", "reader"), DIRECTIONS, ids=DIRECTION_IDS)
@pytest.mark.parametrize(("name", "content"), CASES, ids=lambda part: str(part)[:30])
def test_one_writes_and_the_other_reads(
    writer: Any, reader: Any, name: str, content: Any
) -> None:
    """A property of each type has the same value in the other library, and back."""
    written = MODELS[writer]["Everything"](id="x", **{name: make(writer, content)})
    written.put()
    entity = MODELS[reader]["Everything"].get_by_id("x")
    assert plain(getattr(entity, name)) == content
    entity.put()
    again = MODELS[writer]["Everything"].get_by_id("x")
    assert plain(getattr(again, name)) == content
    (found,) = MODELS[reader]["Everything"].query().fetch()
    assert plain(getattr(found, name)) == content


@pytest.mark.parametrize(("writer", "reader"), DIRECTIONS, ids=DIRECTION_IDS)
@pytest.mark.parametrize(
    ("name", "content"), SEARCHABLE, ids=lambda part: str(part)[:30]
)
def test_one_writes_and_the_other_finds(
    writer: Any, reader: Any, name: str, content: Any
) -> None:
    """A query for the value finds what the other library has written, only that."""
    MODELS[writer]["Everything"](id="x", **{name: make(writer, content)}).put()
    MODELS[writer]["Everything"](id="y").put()
    kind = MODELS[reader]["Everything"]
    query = kind.query(getattr(kind, name) == make(reader, content))
    assert [key.id() for key in query.fetch(keys_only=True)] == ["x"]
    ordered = kind.query().order(getattr(kind, name)).fetch(keys_only=True)
    assert [key.id() for key in ordered] == ["y", "x"]  # None comes first
    nothing = kind.query(getattr(kind, name) == None)  # noqa: E711
    assert [key.id() for key in nothing.fetch(keys_only=True)] == ["y"]


def test_a_bundled_query_finds_a_user_of_cloud_ndb() -> None:
    """A user that Cloud NDB stores without an id is the user that a query means."""
    kind = MODELS[bundled]["Everything"]
    user = ("user", "a@example.com", "example.com")
    MODELS[cloud]["Everything"](id="x", user=make(cloud, user)).put()
    found = kind.query(kind.user == make(bundled, user)).get()
    assert found.key.id() == "x"
    assert MODELS[cloud]["Everything"].get_by_id("x").user.user_id() is None


@pytest.mark.parametrize(("writer", "reader"), DIRECTIONS, ids=DIRECTION_IDS)
def test_lists_and_structures_are_found(writer: Any, reader: Any) -> None:
    """A query for one value of a list, or a part of a structure, finds the entity."""
    MODELS[writer]["Everything"](
        id="x",
        integers=[3, 1],
        structured=make(writer, ("color", "red", 1)),
        structures=make(writer, [("color", "blue", 2), ("color", "pink", 3)]),
    ).put()
    kind = MODELS[reader]["Everything"]
    for condition in (
        kind.integers == 1,
        kind.structured.name == "red",
        kind.structures.value == 3,
        kind.structures == make(reader, ("color", "blue", 2)),
    ):
        assert [found.key.id() for found in kind.query(condition)] == ["x"]
    (found,) = kind.query(kind.integers > 1).fetch(projection=["integers"])
    assert found.integers == [3]


@pytest.mark.parametrize(("writer", "reader"), DIRECTIONS, ids=DIRECTION_IDS)
def test_expando_and_polymodel(writer: Any, reader: Any) -> None:
    """Attributes of no class and classes of classes are known to both."""
    loose = MODELS[writer]["Loose"](id="x", name="n")
    loose.size = 5
    loose.parts = [2, 1.5]
    loose.put()
    again = MODELS[reader]["Loose"].get_by_id("x")
    assert (again.name, again.size, again.parts) == ("n", 5, [2, 1.5])
    MODELS[writer]["Cat"](id="c", name="tom", lives=9).put()
    found = MODELS[reader]["Animal"].query().get()
    assert (type(found), found.lives) == (MODELS[reader]["Cat"], 9)


def test_a_blob_key_of_the_bundled_library_can_be_read() -> None:
    """Cloud NDB has no value for blob keys: it reads and keeps them as text."""

    class File(bundled.Model):
        blob = bundled.BlobKeyProperty()

    File(id="x", blob=blobstore.BlobKey("some-key")).put()
    CloudFile: Any = type("File", (cloud.Expando,), {})  # noqa: N806 - a class
    entity = CloudFile.get_by_id("x")
    assert entity.blob == "some-key"
    entity.put()
    assert File.get_by_id("x").blob == blobstore.BlobKey("some-key")


def test_keys_are_the_same() -> None:
    """Paths, namespaces and the URL form of older libraries agree."""
    for path, namespace in itertools.product(
        (("A", 1), ("A", "x", "B", 2**53), ("A", 1, "B", "ü")), ("", "other")
    ):
        ours = bundled.Key(*path, app=APP_ID, namespace=namespace)
        theirs = cloud.Key(*path, project=PROJECT, namespace=namespace)
        assert ours.urlsafe() == theirs.to_legacy_urlsafe("dev~")
        assert cloud.Key(urlsafe=ours.urlsafe()).flat() == path
        assert bundled.Key(urlsafe=theirs.to_legacy_urlsafe("dev~")) == ours


@pytest.mark.parametrize(("writer", "reader"), DIRECTIONS, ids=DIRECTION_IDS)
def test_ids_and_deletions_are_shared(writer: Any, reader: Any) -> None:
    """Neither library gives an id that the other has given; what is deleted is gone."""
    mine = [MODELS[writer]["Counter"](count=n).put() for n in range(20)]
    yours = [MODELS[reader]["Counter"](count=n).put() for n in range(20)]
    assert len({key.id() for key in (*mine, *yours)}) == 40
    mine[0].delete()
    kind = MODELS[reader]["Counter"]
    assert kind.get_by_id(mine[0].id()) is None
    assert kind.query().count() == 39
    page, cursor, more = kind.query().order(-kind.count).fetch_page(10)
    assert ([counter.count for counter in page[:3]], more) == ([19, 19, 18], True)
    page, _, _ = kind.query().order(-kind.count).fetch_page(40, start_cursor=cursor)
    assert len(page) == 29


@pytest.mark.parametrize(("writer", "reader"), DIRECTIONS, ids=DIRECTION_IDS)
def test_ids_that_the_app_has_chosen_are_not_handed_out(
    running: RunningDatastore, writer: Any, reader: Any
) -> None:
    """Entities of an earlier server, put back, are at the ids that would come next."""
    store = running.calls.stub
    ahead = running.do(lambda: store._IdCounter("scattered"))
    chosen = [ToScatteredId(count) for count in range(ahead, ahead + 6)]
    kind, same = MODELS[writer]["Counter"], MODELS[reader]["Counter"]
    writer.put_multi([kind(id=number, count=-1) for number in chosen])
    found = [same(count=1).put().id() for _ in range(2)]
    found += [
        cloud.transaction(lambda: MODELS[cloud]["Counter"](count=1).put().id()),
        *(key.id() for key in MODELS[cloud]["Counter"].allocate_ids(2)),
    ]
    assert set(chosen).isdisjoint(found)
    assert [kind.get_by_id(number).count for number in chosen] == [-1] * 6


def test_ids_of_the_same_commit_are_not_handed_out(running: RunningDatastore) -> None:
    """Nor those of entities that are put together with the new ones."""
    store = running.calls.stub
    ahead = running.do(lambda: store._IdCounter("scattered"))
    chosen = [ToScatteredId(count) for count in range(ahead, ahead + 3)]
    counter = MODELS[cloud]["Counter"]
    entities = [counter(id=number, count=-1) for number in chosen]
    keys = cloud.put_multi([counter(count=1), *entities, counter(count=1)])
    assert len({key.id() for key in keys}) == 5
    assert [key.get().count for key in keys] == [1, -1, -1, -1, 1]


@pytest.mark.parametrize(("writer", "reader"), DIRECTIONS, ids=DIRECTION_IDS)
def test_a_cursor_of_one_library_fits_the_other(writer: Any, reader: Any) -> None:
    """Pages go on where the other library's page ended, also in reversed order."""
    kind, same = MODELS[writer]["Counter"], MODELS[reader]["Counter"]
    writer.put_multi([kind(count=n) for n in range(12)])
    _, cursor, _ = kind.query().order(kind.count).fetch_page(5)
    carried = reader.Cursor(urlsafe=cursor.urlsafe())
    for order, expected in ((same.count, [5, 6, 7, 8]), (-same.count, [4, 3, 2, 1])):
        page, _, _ = same.query().order(order).fetch_page(4, start_cursor=carried)
        assert [counter.count for counter in page] == expected


# --- transactions --------------------------------------------------------------------


def increment(ndb: Any, amount: int = 1) -> None:
    """Add to the counter x."""
    counter = MODELS[ndb]["Counter"].get_by_id("x")
    counter.count += amount
    counter.put()


@pytest.mark.parametrize(("first", "second"), DIRECTIONS, ids=DIRECTION_IDS)
@pytest.mark.parametrize("in_transaction", [False, True], ids=["plain", "transaction"])
def test_a_conflict_between_the_libraries_is_tried_again(
    first: Any, second: Any, in_transaction: bool
) -> None:
    """A change by the other library in the middle makes the transaction run again."""
    MODELS[first]["Counter"](id="x").put()
    runs: list[int] = []

    def conflict() -> None:
        counter = MODELS[first]["Counter"].get_by_id("x")
        if not runs:
            if in_transaction:
                second.transaction(lambda: increment(second, 100))
            else:
                increment(second, 100)
        runs.append(1)
        counter.count += 1
        counter.put()

    first.transaction(conflict)
    assert (len(runs), MODELS[second]["Counter"].get_by_id("x").count) == (2, 101)


def test_no_update_is_lost_between_the_libraries(
    running: RunningDatastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads of both libraries add to one counter: each waits, or is run again.

    On a loaded machine one waits too long, and fails at its commit: a queue would send
    the task once more.
    """
    monkeypatch.setattr(transactions, "PATIENCE", 10.0)
    MODELS[cloud]["Counter"](id="x").put()
    client = running.client()

    def with_cloud(_: int) -> None:
        with client.context(cache_policy=False):
            for _ in range(10):
                cloud.transaction(lambda: increment(cloud), retries=20)

    def with_bundled(_: int) -> None:
        bundled.get_context().set_cache_policy(False)
        bundled.get_context().set_memcache_policy(False)
        for _ in range(10):
            bundled.transaction(lambda: increment(bundled), retries=20)

    with ThreadPoolExecutor(4) as executor:
        work = [with_cloud, with_bundled, with_cloud, with_bundled]
        for done in [executor.submit(one, 0) for one in work]:
            done.result(60)
    client.stub.close()
    assert MODELS[bundled]["Counter"].get_by_id("x").count == 40


def test_every_type_of_property_is_compared() -> None:
    """What both libraries offer is in the models that their tests compare."""

    def properties(ndb: Any) -> set[str]:
        return {
            name
            for name, found in vars(ndb).items()
            if isinstance(found, type) and issubclass(found, ndb.Property)
        }

    compared = {
        type(found).__name__
        for model in MODELS[bundled].values()
        for found in model._properties.values()
    }

    # Property is abstract, ModelKey is every model's; a blob key has a test of its own
    without = {"Property", "ModelKey", "BlobKeyProperty"}
    assert properties(bundled) & properties(cloud) - without == compared - {
        "_ClassKeyProperty"
    }
