"""Entities of both NDB libraries in the console: found, edited, exported, imported."""

# the models of a library without types
# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False

import datetime
import json
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from google.appengine.api import users
from google.appengine.api.memcache import memcache_service_pb2
from google.appengine.datastore import datastore_pb
from google.appengine.datastore import entity_bytes_pb2 as entity_pb
from google.appengine.datastore.datastore_stub_util import IdToCounter, ToScatteredId
from google.appengine.ext import ndb
from google.cloud import ndb as cloud

from tests.helpers import datastore_v1 as v1
from tests.helpers.calls import APP_ID, reference
from tests.helpers.datastore_console import DatastoreConsole
from tests.helpers.running_datastore import RunningDatastore

TYPES = entity_pb.Property
MOMENT = datetime.datetime(2026, 1, 2, 3, 4, 5, 6)


class Inner(ndb.Model):
    """An entity in another one."""

    city = ndb.StringProperty()
    tags = ndb.StringProperty(repeated=True)


class Odd(ndb.Expando):
    """An entity with properties of every type."""

    empty = ndb.StringProperty(repeated=True)
    zipped = ndb.TextProperty(compressed=True)
    json = ndb.JsonProperty()
    pickled = ndb.PickleProperty()
    one = ndb.StructuredProperty(Inner)
    local = ndb.LocalStructuredProperty(Inner, repeated=True)
    text = ndb.TextProperty()
    key_property = ndb.KeyProperty()
    who = ndb.UserProperty()


class Count(ndb.Expando):
    """An entity with a number, and a property without an index."""

    hidden = ndb.TextProperty()


class CloudInner(cloud.Model):
    """An entity in another one."""

    city = cloud.StringProperty()


class CloudOdd(cloud.Expando):
    """An entity with properties of every type."""

    many = cloud.StructuredProperty(CloudInner, repeated=True)
    zipped = cloud.JsonProperty(compressed=True)
    none = cloud.IntegerProperty(repeated=True)
    where = cloud.GeoPtProperty()
    who = cloud.UserProperty()


@pytest.fixture(scope="module")
def module_console() -> Iterator[DatastoreConsole]:
    """The console of the tests of this module."""
    running = RunningDatastore()
    console = DatastoreConsole(running)
    yield console
    console.stop()
    running.stop()


@pytest.fixture
def console(module_console: DatastoreConsole) -> Iterator[DatastoreConsole]:
    """A console of an empty datastore, and a context of each library."""
    running = module_console.running
    running.clear()
    client = running.client()
    with client.context(cache_policy=False, legacy_data=False), running.bundled():
        ndb.get_context().set_cache_policy(False)
        ndb.get_context().set_memcache_policy(False)
        yield module_console
    client.stub.close()


def put_odd() -> None:
    """Store entities with properties of every type, with both libraries."""
    inner = Inner(city="Bern", tags=["a", "b"])
    fields = {
        "zipped": "long " * 100,
        "json": {"a": [1, None]},
        "pickled": (1, "x"),
        "one": inner,
        "local": [inner, inner],
        "text": "line\r\nline\r\n",
        "key_property": ndb.Key("A", 2**62, "B", "b", namespace="n"),
        "who": users.User("a@example.com", "example.com"),
        "nothing": None,
        "control\x01": "a",
    }
    numbers = [2**63 - 1, -(2**53) - 1, 0, 1.5, -0.0, math.inf, math.nan, True]
    odd = Odd(id="\u20ac/?#", namespace="n", mixed=[*numbers, "text", MOMENT], **fields)
    odd.put()
    Odd(parent=odd.key, id=2**60, point=ndb.GeoPt(1.5, -2), at=MOMENT).put()
    many = [CloudInner(city="Bern"), CloudInner(city=None)]
    who = cloud.User("a@example.com", "example.com")
    where = cloud.GeoPt(1, 2)
    CloudOdd(many=many, zipped={"a": 1}, where=where, who=who, ref=odd_key()).put()
    CloudOdd(id="named", database=None, at=MOMENT, raw=b"\xff", inner=many[0]).put()


def put_mixed(console: DatastoreConsole) -> None:
    """Store an array whose order version 3 would lose, also in another entity."""
    apart = v1.value("x", exclude_from_indexes=True)
    parts = [v1.entity(None, n=1), 1, apart, None]
    inner = v1.entity(None, parts=[v1.entity(None, parts=parts), 2])
    raw = v1.RawClient(console.running.host)
    raw.upsert(v1.entity(v1.key("Mixed", 1), inner=inner, parts=parts))
    raw.close()


def odd_key() -> cloud.Key:
    """Return a key of Cloud NDB in another namespace."""
    return cloud.Key("A", 1, namespace="n")


def put_old(console: DatastoreConsole) -> None:
    """Store what only older libraries write, such as ndb on Python 2."""
    put = datastore_pb.PutRequest()
    entity = put.entity.add(key=reference("Old", "x"))
    entity.entity_group.SetInParent()
    for meaning in (
        TYPES.ATOM_LINK,
        TYPES.GD_PHONENUMBER,
        TYPES.BLOBKEY,
        TYPES.BYTESTRING,
    ):
        item = entity.property.add(name=f"m{meaning}", multiple=False, meaning=meaning)
        item.value.stringValue = b"a"
    pickled = entity.raw_property.add(name="pickle", multiple=False, meaning=TYPES.BLOB)
    pickled.value.stringValue = b"\x80\x02cos\nsystem\nq\x01U\x02hiq\x02\x85Rq\x03."
    text = entity.raw_property.add(name="text", multiple=False, meaning=TYPES.TEXT)
    text.value.stringValue = "\u20ac".encode()
    late = entity.property.add(name="late", multiple=False, meaning=TYPES.GD_WHEN)
    late.value.int64Value = 2**62
    inner = entity_pb.EntityProto()
    inner.raw_property.add(name="QQ", multiple=False).value.booleanValue = True
    not_utf_8 = inner.SerializePartialToString().replace(b"QQ", b"\xfe\xfe")
    for data in (b"\xfe", not_utf_8):
        item = entity.raw_property.add(name="inner", multiple=True)
        item.value.stringValue = data
        item.meaning = TYPES.ENTITY_PROTO
    call(console, "Put", put, datastore_pb.PutResponse())


def call(console: DatastoreConsole, method: str, request: Any, response: Any) -> Any:
    """Make a call as an app on the bundled API does."""
    with console.running.bundled():
        from google.appengine.api import apiproxy_stub_map

        stub = apiproxy_stub_map.apiproxy
        stub.MakeSyncCall("datastore_v3", method, request, response)
    return response


def count(number: int, **fields: Any) -> ndb.Key:
    """Store an entity with a number."""
    return Count(id=f"c{number:03}", number=number, **fields).put()


@pytest.mark.parametrize("rewritten", [False, True])
def test_export_and_import_lose_nothing(
    console: DatastoreConsole, rewritten: bool
) -> None:
    """Entities of both libraries and of Python 2 come back, bit for bit."""
    put_odd()
    put_old(console)
    put_mixed(console)
    before = console.stored()
    status, file = console.send("GET", "/datastore/export")
    assert status == 200
    console.running.clear()
    if rewritten:
        # as a script in a browser writes numbers
        file = json.dumps(json.loads(file, parse_int=float)).encode()
    status, answer = console.send("POST", "/datastore/import", file)
    assert (status, json.loads(answer)) == (200, {"imported": 6})
    assert console.stored() == before


def rows_of(console: DatastoreConsole, urlsafe: str) -> dict[str, Any]:
    """Return the fields of the form of an entity as its page sends them."""
    from gae_devserver.console.datastore import entity_form
    from gae_devserver.console.frame.formats import visible

    shown = console.ask("GET", f"/entities/{urlsafe}")
    fields: dict[str, Any] = {"version": shown["version"]}
    for row in entity_form.rows_of(shown["properties"].items()):
        name = visible(row.name).decode()
        fields[f"type:{name}"] = row.type
        # a browser has one kind of line ends
        fields[f"value:{name}"] = row.value.replace("\r\n", "\n")
        fields[f"indexed:{name}"] = row.indexed
    return fields


def urlsafes(console: DatastoreConsole) -> list[str]:
    """Return the keys of all entities."""
    shown = console.ask("GET", "/datastore")["databases"]
    return [
        entity["urlsafe"]
        for database in shown
        for space in database["namespaces"]
        for kind in space["kinds"]
        for entity in console.ask(
            "GET",
            "/entities",
            kind=kind["kind"],
            namespace=space["namespace"],
            database=database["database"],
        )["entities"]
    ]


def test_a_form_keeps_what_it_does_not_change(console: DatastoreConsole) -> None:
    """A property is added to each entity, and then removed: all others are the same."""
    put_odd()
    put_old(console)
    put_mixed(console)
    before = console.stored()
    new = {"type:new 1": "integer", "name:new 1": "added", "value:new 1": "5"}
    for urlsafe in urlsafes(console):
        fields = rows_of(console, urlsafe)
        changed = console.ask("PUT", f"/entities/{urlsafe}", {**fields, **new})
        added = changed["properties"]["added"]
        assert added == {"type": "integer", "value": 5, "indexed": False}
    assert console.stored() != before
    for urlsafe in urlsafes(console):
        fields = {**rows_of(console, urlsafe), "remove:added": True}
        console.ask("PUT", f"/entities/{urlsafe}", fields)
    assert console.stored() == before


def test_a_form_edits_each_type(console: DatastoreConsole) -> None:
    """Both libraries read what a form has written."""
    put_odd()
    key = ndb.Key("Odd", "\u20ac/?#", namespace="n")
    fields = rows_of(console, key.urlsafe().decode())
    values = {
        "text": "a\nb",
        "json": '{"a": 2}',
        "mixed": '["x", 1, 2.5, null, {"type": "datetime", "value": "2026-02-03"}]',
        "key_property": ndb.Key("A", "b").urlsafe().decode(),
    }
    fields |= {f"value:{name}": value for name, value in values.items()}
    console.ask("PUT", f"/entities/{key.urlsafe().decode()}", fields)
    odd = key.get()
    assert (odd.text, odd.json) == ("a\r\nb", {"a": 2})
    assert odd.mixed == [b"x", 1, 2.5, None, datetime.datetime(2026, 2, 3)]
    assert odd.key_property == ndb.Key("A", "b")
    assert (odd.local[1].tags, odd.pickled) == (["a", "b"], (1, "x"))


def test_a_form_shows_and_edits_an_array_in_its_order(
    console: DatastoreConsole,
) -> None:
    """Entities and numbers stay where they are, in the list and after an edit."""
    put_mixed(console)
    (urlsafe,) = urlsafes(console)
    fields = rows_of(console, urlsafe)
    fields["value:parts"] = json.dumps([*json.loads(fields["value:parts"]), 2, True])
    console.ask("PUT", f"/entities/{urlsafe}", fields)
    (listed,) = console.ask("GET", "/entities", kind="Mixed")["entities"]
    assert listed["properties"]["parts"] == [{"n": 1}, 1, "x", None, 2, True]
    assert listed["properties"]["inner"]["parts"][1] == 2


@pytest.mark.parametrize("is_deleted", [False, True])
def test_an_edit_of_an_older_version_is_refused(
    console: DatastoreConsole, is_deleted: bool
) -> None:
    """Nothing is changed after the app has changed the entity."""
    key = count(1)
    path = f"/entities/{key.urlsafe().decode()}"
    fields = rows_of(console, key.urlsafe().decode())
    count(1, other="new")
    if is_deleted:
        key.delete()
    before = console.stored()
    body = json.dumps({**fields, "value:number": "7"}).encode()
    assert console.send("PUT", path, body)[0] == 409
    assert console.send("DELETE", path, version=fields["version"])[0] == 409
    assert console.stored() == before


def test_an_edit_waits_for_a_transaction(console: DatastoreConsole) -> None:
    """It does not overwrite what a transaction of the app is about to commit."""
    key = count(1)
    urlsafe = key.urlsafe().decode()
    fields = {**rows_of(console, urlsafe), "value:number": "7"}
    body = json.dumps(fields).encode()
    with ThreadPoolExecutor() as pool:

        def change() -> Any:
            entity = key.get()
            edit = pool.submit(console.send, "PUT", f"/entities/{urlsafe}", body)
            console.running.wait_for_waiter()
            entity.number = 2
            entity.put()
            return edit

        assert ndb.transaction(change).result()[0] == 409
    assert key.get().number == 2


def test_a_named_database(console: DatastoreConsole) -> None:
    """Its entities are listed, edited, exported and imported apart from others."""
    client = console.running.client(database="other")

    def there(function: Callable[[], Any]) -> Any:
        # a thread has one context
        def call() -> Any:
            with client.context(cache_policy=False):
                return function()

        with ThreadPoolExecutor() as pool:
            return pool.submit(call).result()

    key = there(lambda: CloudOdd(id=1, number=1).put())
    in_other = {"kind": "CloudOdd", "database": "other"}
    (entity,) = console.ask("GET", "/entities", **in_other)["entities"]
    fields = {**rows_of(console, entity["urlsafe"]), "value:number": "7"}
    edited = console.ask("PUT", f"/entities/{entity['urlsafe']}", fields)
    _, file = console.send("GET", "/datastore/export", database="other")
    console.running.clear()
    assert console.send("GET", f"/entities/{entity['urlsafe']}")[0] == 404
    assert console.send("POST", "/datastore/import", file)[0] == 200
    assert there(key.get).number == 7
    assert edited["cloud_urlsafe"].encode() == there(key.urlsafe)
    assert console.ask("GET", "/entities", kind="CloudOdd")["entities"] == []
    client.stub.close()


@pytest.mark.parametrize(
    ("kind", "value", "fact"),
    [
        ("integer", "1.5", "1.5"),
        ("integer", str(2**63), "9223372036854775808"),
        ("float", "one", "one"),
        ("boolean", "yes", "yes"),
        ("datetime", "2026-13-01T00:00", "2026-13-01"),
        ("bytes", "%", "base64"),
        ("key", "nonsense", "nonsense"),
        ("list", '[["a"]]', "list"),
        ("list", "[1", "JSON"),
        ("geopoint", "{}", "point"),
        ("text", "a" * 1501, "1500"),
        ("odd", "", "odd"),
    ],
)
def test_an_invalid_value_is_refused(
    console: DatastoreConsole, kind: str, value: str, fact: str
) -> None:
    """The error names the property and the value; the entity stays."""
    key = count(1).urlsafe().decode()
    before = console.stored()
    fields = rows_of(console, key)
    fields |= {"type:number": kind, "value:number": value, "indexed:number": True}
    status, body = console.send("PUT", f"/entities/{key}", json.dumps(fields).encode())
    assert (status, console.stored()) == (400, before)
    assert b"number" in body
    assert fact.encode() in body


def test_a_new_entity(console: DatastoreConsole) -> None:
    """It gets an id, or has one that is never given to another entity."""
    properties = {"a": {"type": "text", "value": "x"}}
    made = console.ask(
        "POST", "/entities", {"kind": "Count", "id": "", "namespace": "n"}
    )
    assert made["key"]["namespace"] == "n"
    assert made["key"]["path"][0][1] > 0
    odd = {"kind": "Count", "type:new 1": "text", "name:new 1": "\ud800"}
    assert console.send("POST", "/entities", json.dumps(odd).encode())[0] == 400
    key = {"path": [["Count", 1], ["Count", "b"]]}
    new = {"key": key, "properties": properties}
    made = console.ask("POST", "/entities", new)
    assert ndb.Key(urlsafe=made["urlsafe"]).get().a == b"x"
    assert cloud.Key(urlsafe=made["cloud_urlsafe"].encode()).id() == "b"
    status, _ = console.send("POST", "/entities", json.dumps(new).encode())
    assert status == 409


def numbers(page: dict[str, Any]) -> list[Any]:
    """Return the numbers of the entities of a page."""
    return [one["properties"].get("number") for one in page["entities"]]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"order": "number"}, [0, 1, 2, 3, None]),
        ({"order": "-number"}, [3, 2, 1, 0, None]),
        ({"order": "-key"}, [None, 3, 2, 1, 0]),
        ({"filter": "number >= 2"}, [2, 3]),
        ({"filter": "number<1"}, [0]),
        ({"filter": 'name = "n1"'}, [1]),
        ({"filter": 'hidden = "h2"'}, [2]),
        ({"filter": "even = true", "order": "-number"}, [2, 0]),
        ({"filter": "none = null"}, [0, 1, 2, 3]),
        ({"filter": "at > datetime(2026-01-03T00:00)"}, [3]),
        ({"property": "number", "op": "!=", "type": "number", "value": "1"}, [0, 2, 3]),
        ({"id": "c002"}, [2]),
        ({"filter": 'key > key([["Count", "c002"]])'}, [3, None]),
    ],
)
def test_entities_are_found(
    console: DatastoreConsole, query: dict[str, str], expected: list[Any]
) -> None:
    """Each order and filter gives the same pages of one, two and all entities."""
    for number in range(4):
        fields = {"name": f"n{number}", "even": number % 2 == 0, "none": None}
        at = datetime.datetime(2026, 1, number + 1)
        count(number, hidden=f"h{number}", at=at, **fields)
    type("Count", (cloud.Expando,), {})(id="c9", other=1).put()
    for limit in ("1", "2", "100"):
        found, cursor = [], ""
        while cursor is not None:
            page = console.ask(
                "GET", "/entities", kind="Count", limit=limit, cursor=cursor, **query
            )
            found += numbers(page)
            cursor = page["cursor"]
        assert found == expected


def test_what_a_query_would_miss_is_explained(console: DatastoreConsole) -> None:
    """Notes name the property without index, and count entities without a property."""
    Count(hidden="a").put()
    count(1)
    (note,) = console.ask("GET", "/entities", kind="Count", order="number")["notes"]
    assert "1 of them" in note
    notes = console.ask("GET", "/entities", kind="Count", filter='hidden = "a"')[
        "notes"
    ]
    assert "'hidden'" in notes[0]


@pytest.mark.parametrize(
    "query",
    [
        {"kind": "Count", "filter": "number"},
        {"kind": "Count", "filter": "number > datetime(x)"},
        {"kind": "Count", "order": "number", "cursor": "AAAA"},
        {"kind": "Count", "database": "none"},
        {"kind": "Count", "limit": "0"},
    ],
)
def test_a_bad_question_is_refused(
    console: DatastoreConsole, query: dict[str, str]
) -> None:
    """It is an error of the client."""
    assert console.send("GET", "/entities", **query)[0] in (400, 404)


def test_several_entities_are_deleted(console: DatastoreConsole) -> None:
    """The selected ones are, and then all of the kind; those of other kinds stay."""
    keys = [count(number).urlsafe().decode() for number in range(150)]
    put_odd()
    others = len(urlsafes(console)) - 150
    selected = {keys[0]: True, keys[1]: False, keys[2]: True}
    assert console.ask("POST", "/entities/delete", selected) == {"deleted": 2}
    assert console.ask("DELETE", "/entities", kind="Count") == {"deleted": 148}
    assert len(urlsafes(console)) == others


@pytest.mark.parametrize(
    ("line", "fact"),
    [
        ("{", "JSON"),
        ('{"key": {"path": [["A", null]]}, "properties": {}}', "id"),
        ('{"key": {"path": [["A", 1]]}, "properties": {"p": {"type": "x"}}}', "p: "),
        ('{"key": {"path": [["A", "same"]]}, "properties": {}}', "same key"),
        ('{"key": {"app": "x", "path": [["A", 1]]}, "properties": {}}', "x"),
    ],
)
def test_a_wrong_entity_stops_an_import(
    console: DatastoreConsole, line: str, fact: str
) -> None:
    """The error has its line, and nothing is stored."""
    good = '{"key": {"path": [["A", "same"]]}, "properties": {}}'
    head = '{"format": "gae-devserver entities", "version": 1, "entities": ['
    file = f"{head}\n{good},\n{line}\n]}}\n".encode()
    status, body = console.send("POST", "/datastore/import", file)
    assert (status, console.stored()) == (400, {})
    assert b"line 3" in body
    assert fact.encode() in body


def test_imported_ids_are_not_given_again(console: DatastoreConsole) -> None:
    """The next id is another one, even after the imported entity is deleted."""
    old = ToScatteredId(IdToCounter(Count().put().id())[0] + 2)
    entity = {"key": {"path": [["Count", old]]}, "properties": {}}
    head = {"format": "gae-devserver entities", "version": 1}
    console.ask("POST", "/datastore/import", {**head, "entities": [entity]})
    ndb.Key("Count", old).delete()
    assert old not in [Count().put().id() for _ in range(4)]


def test_ndbs_cache_forgets_a_changed_entity(console: DatastoreConsole) -> None:
    """Memcache no longer has what the bundled NDB had kept there."""
    key = count(1)
    request = memcache_service_pb2.MemcacheSetRequest()
    request.item.add(key=b"NDB9:" + key.urlsafe(), value=b"old")
    response = memcache_service_pb2.MemcacheSetResponse()
    console.running.do(
        lambda: console.memcache.MakeSyncCall("memcache", "Set", request, response)
    )
    urlsafe = key.urlsafe().decode()
    fields = {**rows_of(console, urlsafe), "value:number": "7"}
    console.ask("PUT", f"/entities/{urlsafe}", fields)
    get = memcache_service_pb2.MemcacheGetRequest(key=[b"NDB9:" + key.urlsafe()])
    found = memcache_service_pb2.MemcacheGetResponse()
    console.running.do(
        lambda: console.memcache.MakeSyncCall("memcache", "Get", get, found)
    )
    assert not found.item
    assert key.get().number == 7


def test_a_value_is_downloaded(console: DatastoreConsole) -> None:
    """Bytes and text are as they are stored, other values are in JSON."""
    put_old(console)
    key = ndb.Key("Old", "x", app=APP_ID).urlsafe().decode()
    path = f"/entities/{key}/value"
    assert console.send("GET", path, property="text") == (200, "\u20ac".encode())
    assert console.send("GET", path, property="pickle")[1].endswith(b"q\x03.")
    assert console.send("GET", path, property="late")[1] == f'"{2**62}"'.encode()
