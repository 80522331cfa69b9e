"""What one NDB library writes, the same or the other one reads, finds and changes."""

# the models of a library without types
# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False

import datetime
from collections.abc import Iterator
from typing import Any

import pytest
from google.appengine.api import users
from google.appengine.datastore.datastore_stub_util import IdToCounter, ToScatteredId
from google.appengine.ext import blobstore, db
from google.appengine.ext import ndb as bundled
from google.appengine.ext.ndb import polymodel
from google.cloud import ndb as cloud

from tests.helpers.calls import APP_ID, PROJECT
from tests.helpers.datastore_v1 import RawClient, entity, key, value
from tests.helpers.running_datastore import IMPATIENT, RunningDatastore


@pytest.fixture
def legacy() -> bool:
    """Whether Cloud NDB writes structures in the form of older libraries."""
    return True


@pytest.fixture(autouse=True)
def _both(
    running: RunningDatastore, client: cloud.Client, legacy: bool
) -> Iterator[None]:
    """A context of each library on an empty datastore, without caches."""
    with (
        client.context(cache_policy=False, legacy_data=legacy),
        running.bundled(),
    ):
        bundled.get_context().set_cache_policy(False)
        bundled.get_context().set_memcache_policy(False)
        yield


RED, BLUE = ("color", "red", 1, "n" * 2000), ("color", "blue", None, None)
BLANK = ("color", None, None, None)


class Case:
    """A property with options, and values that it must keep."""

    def __init__(self, kind: str, values: list[Any], **options: Any) -> None:
        self.kind, self.values, self.options = kind, values, options


SEARCHABLE = {
    "integer": Case("IntegerProperty", [0, -(2**63), 2**63 - 1]),
    "floating": Case("FloatProperty", [0.5, -1e300, float("inf")]),
    "boolean": Case("BooleanProperty", [True, False]),
    "string": Case("StringProperty", ["", "naïve ☃"]),
    "blob_indexed": Case("BlobProperty", [b"\xff\x00"], indexed=True),
    "point": Case("GeoPtProperty", [("point", 52.5, -13.25)]),
    "key_property": Case("KeyProperty", [("key", "A", 1, "B", "b")]),
    "moment": Case(
        "DateTimeProperty", [datetime.datetime(2020, 2, 29, 23, 59, 59, 999999)]
    ),
    "day": Case("DateProperty", [datetime.date(1969, 12, 31)]),
    "time": Case("TimeProperty", [datetime.time(23, 59, 59, 999999)]),
    "generic": Case("GenericProperty", [5, 1.5, True]),
    "renamed": Case("StringProperty", ["x"], name="other_name"),
}
PROPERTIES = {
    **SEARCHABLE,
    "text": Case("TextProperty", ["long " * 1000]),
    "text_zipped": Case("TextProperty", ["long ☃" * 1000], compressed=True),
    "blob": Case("BlobProperty", [b"\xff" * 5000]),
    "blob_zipped": Case("BlobProperty", [b"long " * 1000], compressed=True),
    "json": Case("JsonProperty", [{"a": [1, 2, {"b": None}]}, "x" * 5000]),
    "json_zipped": Case("JsonProperty", [{"a": ["x" * 5000]}], compressed=True),
    "pickled": Case("PickleProperty", [{"a": (1, "x", None, {1, 2})}]),
    "user": Case("UserProperty", [("user", "a@example.com", "example.com")]),
    "structured": Case("StructuredProperty", [BLANK, RED]),
    "local": Case("LocalStructuredProperty", [RED]),
    "local_zipped": Case("LocalStructuredProperty", [RED], compressed=True),
    "integers": Case("IntegerProperty", [[], [3, 1, 2, 1]], repeated=True),
    "strings": Case("StringProperty", [["b", "", "a"]], repeated=True),
    "keys": Case("KeyProperty", [[("key", "A", 1), ("key", "B", "x")]], repeated=True),
    "blobs_zipped": Case(
        "BlobProperty", [[b"one" * 500, b"two"]], repeated=True, compressed=True
    ),
    "structures": Case("StructuredProperty", [[], [RED, BLUE]], repeated=True),
    "locals": Case("LocalStructuredProperty", [[], [RED, BLUE]], repeated=True),
    "locals_zipped": Case(
        "LocalStructuredProperty", [[RED, BLUE]], repeated=True, compressed=True
    ),
}


def models(ndb: Any) -> dict[str, Any]:
    """Return the same models, made with one library."""

    class Color(ndb.Model):
        name = ndb.StringProperty()
        value = ndb.IntegerProperty()
        notes = ndb.TextProperty()

    class Counter(ndb.Model):
        count = ndb.IntegerProperty(default=0)

    class Loose(ndb.Expando):
        name = ndb.StringProperty()

    base: Any = cloud.PolyModel if ndb is cloud else polymodel.PolyModel

    class Animal(base):
        name = ndb.StringProperty()

    class Cat(Animal):
        lives = ndb.IntegerProperty()

    properties = {}
    for name, case in PROPERTIES.items():
        structure = [Color] if "Structured" in case.kind else []
        properties[name] = getattr(ndb, case.kind)(*structure, **case.options)
    everything = type(ndb.Model)("Everything", (ndb.Model,), properties)
    made = (everything, Color, Counter, Loose, Animal, Cat)
    return {model.__name__: model for model in made}


MODELS = {bundled: models(bundled), cloud: models(cloud)}
both_directions = pytest.mark.parametrize(
    ("writer", "reader"),
    [(bundled, cloud), (cloud, bundled)],
    ids=["bundled-to-cloud", "cloud-to-bundled"],
)
three_ways = pytest.mark.parametrize(
    ("writer", "reader", "legacy"),
    [(bundled, cloud, True), (cloud, bundled, True), (cloud, cloud, False)],
    ids=["bundled-to-cloud", "cloud-to-bundled", "embedded"],
)
"""Both directions, and Cloud NDB alone with structures in its own form."""


def make(ndb: Any, content: Any) -> Any:
    """Return a value in the form of one library."""
    match content:
        case ("color", name, number, notes):
            return MODELS[ndb]["Color"](name=name, value=number, notes=notes)
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
    """Return a value in a form that does not show the library."""
    match content:
        case list():
            return [plain(item) for item in content]
        case bundled.Model() | cloud.Model():
            return ("color", content.name, content.value, content.notes)
        case bundled.GeoPt():
            return ("point", content.lat, content.lon)
        case cloud.GeoPt():
            return ("point", content.latitude, content.longitude)
        case users.User() | cloud.User():
            return ("user", content.email(), content.auth_domain())
        case bundled.Key() | cloud.Key():
            return ("key", *content.flat())
        case datetime.datetime():
            return content.replace(tzinfo=None)
    return content


def each(properties: dict[str, Case]) -> pytest.MarkDecorator:
    """Mark a test of each value of each property."""
    return pytest.mark.parametrize(
        ("name", "content"),
        [
            (name, content)
            for name, case in properties.items()
            for content in case.values
        ],
        ids=lambda part: str(part)[:30],
    )


@three_ways
@each(PROPERTIES)
def test_one_writes_and_the_other_reads(
    writer: Any, reader: Any, name: str, content: Any
) -> None:
    """A property of each type has the same value in the other library, and back."""
    MODELS[writer]["Everything"](id="x", **{name: make(writer, content)}).put()
    entity = MODELS[reader]["Everything"].get_by_id("x")
    (found,) = MODELS[reader]["Everything"].query().fetch()
    entity.put()
    again = MODELS[writer]["Everything"].get_by_id("x")
    for read in (entity, found, again):
        assert plain(getattr(read, name)) == content


@both_directions
@each(SEARCHABLE)
def test_one_writes_and_the_other_finds(
    writer: Any, reader: Any, name: str, content: Any
) -> None:
    """A query for the value finds the entity of the other library, and no other one."""
    MODELS[writer]["Everything"](id="x", **{name: make(writer, content)}).put()
    MODELS[writer]["Everything"](id="y").put()
    kind = MODELS[reader]["Everything"]
    own = getattr(kind, name)
    for query, expected in (
        (kind.query(own == make(reader, content)), ["x"]),
        (kind.query().order(own), ["y", "x"]),  # None comes first
        (kind.query(own == None), ["y"]),  # noqa: E711
    ):
        assert [key.id() for key in query.fetch(keys_only=True)] == expected


def test_a_user_without_an_id(running: RunningDatastore) -> None:
    """A user that Cloud NDB stores without an id is the user that a query means."""
    kind = MODELS[bundled]["Everything"]
    user = ("user", "a@example.com", "example.com")
    MODELS[cloud]["Everything"](id="x", user=make(cloud, user)).put()
    assert kind.query(kind.user == make(bundled, user)).get().key.id() == "x"
    assert MODELS[cloud]["Everything"].get_by_id("x").user.user_id() is None
    known = cloud.User("a@example.com", "example.com", _user_id="77")
    key = MODELS[cloud]["Everything"](user=known).put()
    assert key.get().user.user_id() == "77"


@three_ways
def test_lists_and_structures_are_found(writer: Any, reader: Any, legacy: bool) -> None:
    """A query can search, sort and project values of a list and parts of structures."""
    color = MODELS[writer]["Color"]
    pairs = [[("a", 1), ("b", 2)], [("a", 2), ("b", 1)], [("x", 3)]]
    for name, values in zip("xyz", pairs, strict=True):
        colors = [color(name=part, value=number) for part, number in values]
        MODELS[writer]["Everything"](
            id=name,
            integers=[number for _, number in values],
            structured=colors[0],
            structures=colors,
        ).put()
    kind, color = MODELS[reader]["Everything"], MODELS[reader]["Color"]
    for query, expected in (
        (kind.query(kind.integers == 2), "xy"),
        (kind.query(kind.structured.name == "a"), "xy"),
        (kind.query(kind.structured == color(name="a", value=2)), "y"),
        (kind.query(kind.structures.value == 3), "z"),
        (kind.query(kind.structures == color(name="b", value=1)), "y"),
        (kind.query(kind.structures.name == "b", kind.integers > 1), "xy"),
        (kind.query().order(-kind.structured.value), "zyx"),
    ):
        assert "".join(found.key.id() for found in query) == expected
    columns = ["structured.name", "structures.value"]
    found = kind.query(kind.integers == 2).fetch(projection=columns)
    projected = [(item.structured.name, item.structures[0].value) for item in found]
    assert projected == [("a", 1), ("a", 1), ("a", 2), ("a", 2)]


@three_ways
def test_expando_and_polymodel(writer: Any, reader: Any) -> None:
    """Properties outside of the class, and subclasses, are known to both."""
    loose = MODELS[writer]["Loose"](id="x", name="n")
    loose.size, loose.parts = 5, [2, 1.5]
    loose.put()
    again = MODELS[reader]["Loose"].get_by_id("x")
    assert (again.name, again.size, again.parts) == ("n", 5, [2, 1.5])
    found = MODELS[reader]["Loose"].query(reader.FilterNode("size", "=", 5)).get()
    assert found.key.id() == "x"
    MODELS[writer]["Animal"](name="any").put()
    MODELS[writer]["Cat"](id="c", name="tom", lives=9).put()
    animal, cat = MODELS[reader]["Animal"], MODELS[reader]["Cat"]
    found = animal.query(animal.name == "tom").get()
    assert (type(found), found.lives) == (cat, 9)
    assert (animal.query().count(), cat.query().count()) == (2, 1)


def test_a_blob_key_of_the_bundled_library_can_be_read() -> None:
    """Cloud NDB, which has no type for blob keys, reads and keeps them as text."""

    class File(bundled.Model):
        blob = bundled.BlobKeyProperty()

    File(id="x", blob=blobstore.BlobKey("some-key")).put()
    CloudFile: Any = type("File", (cloud.Expando,), {})  # noqa: N806 - a class
    entity = CloudFile.get_by_id("x")
    assert entity.blob == "some-key"
    entity.put()
    assert File.get_by_id("x").blob == blobstore.BlobKey("some-key")


class MixedOfNdb(bundled.Model):
    """An entity with a list of values of any type."""

    parts = bundled.GenericProperty(repeated=True, indexed=False)


class MixedOfDb(db.Expando):
    """An entity of the oldest library."""


@pytest.mark.parametrize("kind", [MixedOfNdb, MixedOfDb])
def test_a_bundled_library_keeps_all_of_a_mixed_array(
    kind: Any, raw: RawClient
) -> None:
    """Version 3 has no place for the order of an array with entities, only for it."""
    inner, own = entity(None, n=2), key(kind.__name__, 1)

    def parts() -> list[Any]:
        answer = raw.call("Lookup", keys=[own])
        (stored,) = answer.found[0].entity.properties.values()
        for item in stored.array_value.values:
            item.exclude_from_indexes = False
        return list(stored.array_value.values)

    raw.upsert(entity(own, parts=[inner, 1, "z"]))
    assert parts() == list(map(value, [inner, 1, "z"]))
    read = kind.get_by_id(1)
    assert (len(read.parts), read.parts[0]) == (3, 1)
    read.put()
    assert parts() == list(map(value, [1, "z", inner]))


@both_directions
def test_ids_and_deletions_are_shared(writer: Any, reader: Any) -> None:
    """The two libraries never get the same id; both see deletions."""
    mine = [MODELS[writer]["Counter"](count=n).put() for n in range(20)]
    yours = [MODELS[reader]["Counter"](count=n).put() for n in range(20)]
    assert len({key.id() for key in (*mine, *yours)}) == 40
    mine[0].delete()
    assert MODELS[reader]["Counter"].get_by_id(mine[0].id()) is None
    assert MODELS[reader]["Counter"].query().count() == 39


def next_ids(count: int) -> list[int]:
    """Return the ids that would be allocated next."""
    (key,) = MODELS[cloud]["Counter"].allocate_ids(1)
    last, _ = IdToCounter(key.id())
    return [ToScatteredId(last + step) for step in range(1, count + 1)]


@both_directions
def test_ids_that_the_app_has_chosen_are_not_allocated(
    writer: Any, reader: Any
) -> None:
    """Restored entities of an earlier server may have the ids that would come next."""
    chosen = next_ids(6)
    kind, counter = MODELS[writer]["Counter"], MODELS[cloud]["Counter"]
    writer.put_multi([kind(id=number, count=-1) for number in chosen])
    found = [MODELS[reader]["Counter"](count=1).put().id() for _ in range(2)]
    found += [
        cloud.transaction(lambda: counter(count=1).put().id()),
        *(key.id() for key in counter.allocate_ids(2)),
    ]
    assert set(chosen).isdisjoint(found)
    assert [kind.get_by_id(number).count for number in chosen] == [-1] * 6


def test_ids_of_the_same_commit_are_not_allocated() -> None:
    """A new entity gets no id of another entity that is put at the same time."""
    counter = MODELS[cloud]["Counter"]
    entities = [counter(id=number, count=-1) for number in next_ids(3)]
    keys = cloud.put_multi([counter(count=1), *entities, counter(count=1)])
    assert len({key.id() for key in keys}) == 5
    assert [key.get().count for key in keys] == [1, -1, -1, -1, 1]


@both_directions
def test_a_cursor_of_one_library_fits_the_other(writer: Any, reader: Any) -> None:
    """Pages continue where the other library's page ended, also in reversed order."""
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


@IMPATIENT
@both_directions
@pytest.mark.parametrize("in_transaction", [False, True], ids=["plain", "transaction"])
def test_a_conflict_between_the_libraries_is_tried_again(
    writer: Any, reader: Any, in_transaction: bool
) -> None:
    """A transaction runs again after the other library has overtaken it."""
    MODELS[writer]["Counter"](id="x").put()
    runs: list[int] = []

    def conflict() -> None:
        counter = MODELS[writer]["Counter"].get_by_id("x")
        runs.append(1)
        if len(runs) == 1:
            if in_transaction:
                reader.transaction(lambda: increment(reader, 100))
            else:
                increment(reader, 100)
        counter.count += 1
        counter.put()

    writer.transaction(conflict)
    assert (len(runs), MODELS[reader]["Counter"].get_by_id("x").count) == (2, 101)
