"""Writes entities for the console as the app's own calls do: locked and in one step."""

import asyncio
import contextlib
import hashlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Any

from aiohttp import web
from google.appengine.api.memcache import memcache_service_pb2 as memcache_pb

from gae_devserver.console.datastore.entity_json import urlsafe
from gae_devserver.datastore.encoding import path_of
from gae_devserver.datastore.entity_locks import (
    ClearedError,
    ContentionError,
    Owner,
)
from gae_devserver.datastore_v1.databases import Database
from gae_devserver.datastore_v1.lock_waits import groups_of
from gae_devserver.storage.storage import StorageError

SLICE = 25
"""Entities that are written before other calls have their turn."""
_NDB_PREFIX = b"NDB9:"
_MAX_MEMCACHE_KEY = 250

Check = Callable[[], None]


class EntityWrites:
    """Writes entities of any database."""

    def __init__(
        self, find_memcache: Callable[[], Any], flush: Callable[[], None]
    ) -> None:
        """Make it.

        Args:
            find_memcache: returns the stub of memcache, where the bundled NDB keeps
                entities.
            flush: stores what has changed.
        """
        self._find_memcache = find_memcache
        self._flush = flush
        self._numbers = itertools.count(1)

    async def put(
        self, database: Database, entity: Any, check: Check = lambda: None
    ) -> None:
        """Put an entity whose key is complete, unless `check` raises an error.

        Raises:
            web.HTTPConflict: a transaction of the app holds the entity for long.
        """
        async with self._locked(database, groups_of([entity.key])):
            check()
            self._write(database, [entity], [])

    async def delete(
        self, database: Database, key: Any, check: Check = lambda: None
    ) -> None:
        """Delete an entity, unless `check` raises an error."""
        async with self._locked(database, groups_of([key])):
            check()
            self._write(database, [], [key])

    async def put_all(self, database: Database, entities: Sequence[Any]) -> None:
        """Put entities in slices, but none before all can be locked."""
        groups: set[bytes] = set()
        for part in _slices(entities):
            groups |= groups_of(entity.key for entity in part)
            await asyncio.sleep(0)
        async with self._locked(database, groups):
            for part in _slices(entities):
                # Later calls never allocate these ids, even after a deletion.
                database.store._AllocateIds([entity.key for entity in part])
                self._write(database, part, [])
                self._flush_in_between()
                await asyncio.sleep(0)

    async def delete_all(self, database: Database, keys: Iterable[Any]) -> int:
        """Delete entities in slices; return how many there were."""
        deleted = 0
        for part in _slices(keys):
            async with self._locked(database, groups_of(part)):
                found = [key for key in part if exists(database, key)]
                self._write(database, [], found)
                self._flush_in_between()
            deleted += len(found)
            await asyncio.sleep(0)
        return deleted

    def _flush_in_between(self) -> None:
        # What cannot be stored now stays noted. The flush before the answer fails too.
        with contextlib.suppress(StorageError):
            self._flush()

    @contextlib.asynccontextmanager
    async def _locked(
        self, database: Database, groups: set[bytes]
    ) -> AsyncIterator[None]:
        # Owners of one ticket do not wait for each other.
        owner = Owner(f"console {next(self._numbers)}")
        try:
            await database.locks.acquire(owner, sorted(groups))
            yield
        except (ContentionError, ClearedError) as error:
            raise web.HTTPConflict(
                text=f"Nothing was changed, because {error}. Try again."
            ) from None
        finally:
            database.locks.release(owner)

    def _write(
        self, database: Database, entities: Sequence[Any], deleted: Sequence[Any]
    ) -> None:
        keys = [entity.key for entity in entities] + list(deleted)
        if not keys:
            return
        database.store.write(entities, deleted)
        if database.partition.database:
            # The bundled NDB only knows the default database.
            return
        for namespace, group in itertools.groupby(keys, lambda key: key.name_space):
            request = memcache_pb.MemcacheDeleteRequest(name_space=namespace)
            for key in group:
                request.item.add(key=_memcache_key(key))
            response = memcache_pb.MemcacheDeleteResponse()
            memcache = self._find_memcache()
            memcache.MakeSyncCall("memcache", "Delete", request, response)


def exists(database: Database, key: Any) -> bool:
    """Return whether there is an entity with this key."""
    path = path_of(key.path.element)
    return database.store.row(key.name_space, path) is not None


def _slices(items: Iterable[Any]) -> Iterator[list[Any]]:
    rest = iter(items)
    while part := list(itertools.islice(rest, SLICE)):
        yield part


def _memcache_key(key: Any) -> bytes:
    """Return the key by which the bundled NDB keeps an entity in memcache."""
    name = _NDB_PREFIX + urlsafe(key).encode()
    if len(name) > _MAX_MEMCACHE_KEY:
        # as google.appengine.api.memcache does
        return hashlib.sha1(name, usedforsecurity=False).hexdigest().encode()
    return name
