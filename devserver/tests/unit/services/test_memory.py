"""What the services keep: nothing that no call can reach any more."""

import asyncio
import gc
import secrets
import tracemalloc
from typing import Any

import pytest
from google.appengine.api.memcache import memcache_service_pb2 as memcache
from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as taskqueue
from google.appengine.datastore import datastore_pb
from google.appengine.runtime import apiproxy_errors
from google.cloud.datastore_v1.types import datastore as v1

from gae_devserver.datastore.calls import DatastoreCalls
from gae_devserver.datastore.entity_locks import EntityGroupLocks
from gae_devserver.datastore.stub import Datastore
from gae_devserver.datastore_v1.server import DatastoreV1
from gae_devserver.services.memcache import Memcache
from gae_devserver.storage.storage import TOMBSTONE_SECONDS
from tests.helpers.calls import APP_ID, PROJECT, AppRequest, Server, reference
from tests.helpers.clock import StoppedClock
from tests.helpers.datastore_v1 import entity, key
from tests.helpers.entities import entity_of

pytestmark = pytest.mark.asyncio

ENTITIES = 40
"""Of each kind of use, in a round. Each that stayed would take a kilobyte or more."""
MAX_GROWTH = 50_000
"""Bytes in three rounds."""


async def use_the_bundled_api(api: AppRequest) -> None:
    """Put and delete entities of new kinds, and leave transactions open."""
    for _ in range(ENTITIES):
        kind, name = secrets.token_hex(8), secrets.token_hex(8)
        put = reference(kind, name, namespace=secrets.token_hex(8))
        request = datastore_pb.PutRequest(entity=[entity_of(put, **{name: [1]})])
        request.entity[0].entity_group.SetInParent()
        await api.call("datastore_v3", "Put", request)
        await api.delete(put)
        key = reference("Counter", name)
        await api.increment(key)
        await api.get(reference(name, name))
        await api.get(reference(name, name), await api.begin())
        await api.call("datastore_v3", "RunQuery", datastore_pb.Query(app=APP_ID))
        missing = datastore_pb.Query(app=APP_ID, kind="A", name_space=name)
        await api.call("datastore_v3", "RunQuery", missing)
        await api.delete(key)


async def use_cloud_ndb(server: DatastoreV1) -> None:
    """Put and delete entities, also of a named database, and read the past."""

    async def call(rpc: str, **fields: Any) -> Any:
        request = getattr(v1, f"{rpc}Request")(project_id=PROJECT, **fields)
        method = server.rpcs[f"google.datastore.v1.Datastore/{rpc}"]
        return await method.call(getattr(v1, f"{rpc}Request").pb(request))

    for _ in range(ENTITIES):
        for database in ("", "named"):
            kind, name = secrets.token_hex(8), secrets.token_hex(8)
            where = {"database_id": database}
            stored = entity(key(kind, name, database=database), **{name: 1})
            past: Any = {"read_only": {}}
            began = await call("BeginTransaction", transaction_options=past, **where)
            put = [{"upsert": stored}]
            await call("Commit", mode=2, mutations=put, **where)
            reading = {"transaction": began.transaction}
            await call("Lookup", keys=[stored.key], read_options=reading, **where)
            partition = {"project_id": PROJECT, "namespace_id": name, **where}
            query = {"kind": [{"name": "A"}]}
            await call("RunQuery", partition_id=partition, query=query, **where)
            await call("Rollback", transaction=began.transaction, **where)
            delete = [{"delete": stored.key}]
            await call("Commit", mode=2, mutations=delete, **where)


async def use_other_services(api: AppRequest) -> None:
    """Store values that expire, and run named tasks."""
    for _ in range(ENTITIES):
        name = secrets.token_bytes(8)
        value = {"key": name, "value": name, "expiration_time": 60}
        space = secrets.token_hex(4)
        request = memcache.MemcacheSetRequest(item=[value], name_space=space)
        await api.call("memcache", "Set", request)
        await api.add(name.hex())
    purge = taskqueue.TaskQueuePurgeQueueRequest(queue_name=b"default")
    await api.call("taskqueue", "PurgeQueue", purge)


async def test_what_is_deleted_needs_no_memory(
    server: Server, clock: StoppedClock
) -> None:
    """Round after round of puts and deletes, the server needs the same memory."""
    services = server.services
    datastore_v1 = DatastoreV1(services.datastore, services.app_id)
    sizes = []
    tracemalloc.start()
    try:
        for _ in range(6):
            api = server.request()
            await use_the_bundled_api(api)
            await use_cloud_ndb(datastore_v1)
            await use_other_services(api)
            server.end(api)
            for database in datastore_v1.databases.named.values():
                # What the last hour has replaced is kept, up to a bound of its own.
                database.store.forget_past()
            clock.offset += TOMBSTONE_SECONDS + 1
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert sizes[5] - sizes[2] < MAX_GROWTH, sizes


async def test_unread_results_are_forgotten() -> None:
    """A query that was not read to its end can go on for a while after its request."""
    calls = DatastoreCalls(Datastore(APP_ID), EntityGroupLocks(), cursor_seconds=0.0)
    calls.stub.write([entity_of(reference("A", n)) for n in range(1, 999)], [])
    found = datastore_pb.QueryResult()
    query = datastore_pb.Query(app=APP_ID, kind="A", count=1)
    await calls.call("RunQuery", query, found, "ticket")
    following = datastore_pb.NextRequest(cursor=found.cursor, count=1)
    calls.request_ended("ticket")
    read = 0

    async def read_on() -> None:
        nonlocal read
        while True:
            await calls.call("Next", following, datastore_pb.QueryResult(), "another")
            read += 1
            await asyncio.sleep(0)

    with pytest.raises(apiproxy_errors.ApplicationError, match="not found"):
        await read_on()
    assert 1 <= read < 900


async def test_memcache_has_a_limit(clock: StoppedClock) -> None:
    """Beyond it, the values that were not used for longest are evicted.

    The limit and the clock stay after the app has flushed all, and bytes are counted
    after an increment too.
    """
    cache = Memcache(max_size_bytes=2500, gettime=clock.now)

    def call(method: str, name: str = "", **fields: Any) -> Any:
        name = name or method
        request = getattr(memcache, f"Memcache{name}Request")(**fields)
        response = getattr(memcache, f"Memcache{name}Response")()
        cache.MakeSyncCall("memcache", method, request, response)
        return response

    call("FlushAll", "Flush")
    for name in (b"a", b"b", b"c"):
        item = {"key": name, "value": b"x" * 1000, "expiration_time": 60}
        call("Set", item=[item])
    found = call("Get", key=[b"a", b"b", b"c"]).item
    assert sorted(item.key for item in found) == [b"b", b"c"]
    clock.offset += 61
    assert not call("Get", key=[b"b", b"c"]).item
    call("Set", item=[{"key": b"n", "value": b"9"}])
    assert call("Increment", key=b"n").new_value == 10
    assert (call("Stats").stats.items, call("Stats").stats.bytes) == (1, 3)
    call("Delete", item=[{"key": b"n"}])
    assert (call("Stats").stats.items, call("Stats").stats.bytes) == (0, 0)
