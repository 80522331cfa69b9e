"""How the State API shows entities: property by property, of either NDB library."""

import base64
import datetime
import json
import math
import pickle
import zlib
from functools import partial
from typing import Any

import pytest
from google.appengine.api import users
from google.appengine.api.datastore_types import BlobKey
from google.appengine.datastore import datastore_pb
from google.appengine.datastore import entity_bytes_pb2 as entity_pb
from google.appengine.ext import ndb
from google.cloud.datastore_v1.types import CommitRequest

from gae_devserver.console.datastore.entity_json import describe_entity
from gae_devserver.console.datastore.entity_view import cell
from gae_devserver.datastore_v1.server import DatastoreV1
from tests.helpers import datastore_v1 as v1
from tests.helpers.calls import APP_ID, PROJECT, Server, reference

pytestmark = pytest.mark.asyncio

URLSAFE = "aghkZXZ-dW5pdHIHCxIBQRgBDA"
"""The key of the entity 1 of the kind A."""


def shown_in(server: Server) -> dict[str, Any]:
    """Return the only entity of the kind Odd as JSON shows it."""
    (row,) = server.services.datastore.stub.kind(("", "Odd")).rows.values()
    entity = row.record.entity
    shown = describe_entity(row.path, entity.key, entity)
    decoded: dict[str, Any] = json.loads(json.dumps(shown, allow_nan=False))
    return decoded


def encoded(data: bytes) -> dict[str, str]:
    """Return bytes as they are shown."""
    return {"base64": base64.b64encode(data).decode()}


class Inner(ndb.Model):  # type: ignore[misc]
    """An entity in another one."""

    city = ndb.StringProperty()
    raw = ndb.BlobProperty()


INNER = Inner(city="Bern", raw=b"\xff")
SHOWN_INNER = {"city": "Bern", "raw": encoded(b"\xff")}
Many = partial(ndb.LocalStructuredProperty, Inner, repeated=True)
Compressed = partial(ndb.TextProperty, compressed=True)
PROPERTIES: dict[str, tuple[Any, Any, Any]] = {
    "date": (
        ndb.DateTimeProperty,
        datetime.datetime(2026, 1, 2, 3, 4, 5, 6),
        "2026-01-02 03:04:05.000006",
    ),
    "key": (ndb.KeyProperty, ndb.Key("A", 1, app=APP_ID), URLSAFE),
    "not a number": (ndb.FloatProperty, math.nan, "nan"),
    "infinite": (ndb.FloatProperty, -math.inf, "-inf"),
    "number": (ndb.FloatProperty, 0.5, 0.5),
    "large": (ndb.IntegerProperty, 2**63 - 1, 2**63 - 1),
    "boolean": (ndb.BooleanProperty, True, True),
    "nothing": (ndb.StringProperty, None, None),
    "point": (ndb.GeoPtProperty, ndb.GeoPt(1.5, 2), "1.5,2.0"),
    "user": (ndb.UserProperty, users.User("a@gmail.com", "gmail.com"), "a@gmail.com"),
    "blob key": (ndb.BlobKeyProperty, BlobKey("b"), "b"),
    "JSON": (ndb.JsonProperty, [1], encoded(b"[1]")),
    "bytes": (ndb.BlobProperty, b"\xff", encoded(b"\xff")),
    "index": (partial(ndb.BlobProperty, indexed=True), b"a", encoded(b"a")),
    "pickle": (
        ndb.PickleProperty,
        [1],
        encoded(pickle.dumps([1], -1)),
    ),
    "compressed": (Compressed, "a", encoded(zlib.compress(b"a"))),
    "list": (partial(ndb.StringProperty, repeated=True), ["\u20ac"], ["\u20ac"]),
    "entity": (partial(ndb.LocalStructuredProperty, Inner), INNER, SHOWN_INNER),
    "entities": (Many, [INNER, INNER], [SHOWN_INNER, SHOWN_INNER]),
}


@pytest.mark.parametrize("what", PROPERTIES)
async def test_each_property_of_the_bundled_ndb(server: Server, what: str) -> None:
    """Bytes are in base64, entities are objects; dates, keys and NaN are text."""
    make, value, expected = PROPERTIES[what]
    model = type("Odd", (ndb.Expando,), {"value": make()})
    model(id="x", value=value).put(use_cache=False, use_memcache=False)
    assert shown_in(server)["properties"] == {"value": expected}


async def test_an_entity_of_cloud_ndb(server: Server) -> None:
    """It has entities in entities, empty lists, and a name of any characters."""
    services = server.services
    rpcs = DatastoreV1(services.datastore, services.app_id).rpcs
    inner = v1.entity(None, deep=v1.entity(None, raw=b"\xff"), many=[1, None])
    key = v1.key("Odd", "\u2028/\x00")
    odd = v1.entity(
        key,
        one=inner,
        two=[inner],
        none=[],
        raw=b"a",
        ref=v1.key("A", 1),
        at=v1.timestamp(0, 1000),
        where=v1.point(1, 2),
        who=v1.user("a@b.c"),
    )
    for message in (key, odd.properties["ref"].key_value):
        message.partition_id.project_id = PROJECT
    commit = CommitRequest(project_id=PROJECT, mode=2, mutations=[{"upsert": odd}])
    await rpcs["google.datastore.v1.Datastore/Commit"].call(CommitRequest.pb(commit))
    shown = shown_in(server)
    shown_inner = {"deep": {"raw": encoded(b"\xff")}, "many": [1, None]}
    assert shown["key"] == [["Odd", "\u2028/\x00"]]
    assert shown["properties"] == {
        "one": shown_inner,
        "two": [shown_inner],
        "none": [],
        "raw": encoded(b"a"),
        "ref": URLSAFE,
        "at": "1970-01-01 00:00:00.000001",
        "where": "1.0,2.0",
        "who": "a@b.c",
    }


async def test_an_entity_that_no_library_writes(server: Server) -> None:
    """It has a broken entity, a name that is not UTF-8, and a date after 9999."""
    put = datastore_pb.PutRequest()
    entity = put.entity.add(key=reference("Odd", "x"))
    entity.entity_group.SetInParent()
    types = entity_pb.Property
    inner = entity_pb.EntityProto()
    inner.raw_property.add(name="QQ", multiple=False).value.booleanValue = True
    not_utf_8 = inner.SerializePartialToString().replace(b"QQ", b"\xfe\xfe")
    for data in (b"\xfe", not_utf_8):
        item = entity.raw_property.add(name="inner", multiple=True)
        item.value.stringValue = data
        item.meaning = types.ENTITY_PROTO
    late = entity.raw_property.add(name="late", multiple=False, meaning=types.GD_WHEN)
    late.value.int64Value = 2**62
    await server.request().call("datastore_v3", "Put", put)
    inners = [encoded(b"\xfe"), {"\\xfe\\xfe": True}]
    assert shown_in(server)["properties"] == {"inner": inners, "late": 2**62}


async def test_the_size_of_bytes() -> None:
    """A cell of the table has the number of bytes, not of their base64."""
    sizes = [cell(encoded(bytes(size))) for size in (1, 2, 3)]
    assert sizes == ["bytes (1)", "bytes (2)", "bytes (3)"]
