"""The console's subjects for entities on a datastore that both NDB libraries use."""

import asyncio
import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlencode

from aiohttp import web
from google.appengine.api.memcache import memcache_stub

from gae_devserver.console.datastore.entity_writes import EntityWrites
from gae_devserver.console.subjects import datastore_subjects
from tests.helpers.calls import Message
from tests.helpers.running_datastore import RunningDatastore


class DatastoreConsole:
    """The routes on a port of their own, without the guard of the State API."""

    def __init__(self, running: RunningDatastore) -> None:
        self.running = running
        self.memcache = memcache_stub.MemcacheServiceStub()
        self._run(self._start())

    def _run(self, coroutine: Any) -> Any:
        future = asyncio.run_coroutine_threadsafe(coroutine, self.running.loop)
        return future.result(20)

    async def _start(self) -> None:
        databases = self.running.server.databases
        writes = EntityWrites(lambda: self.memcache, lambda: None)
        app = web.Application()
        for subject in datastore_subjects(databases, writes):
            app.add_routes(subject.routes())
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    def stop(self) -> None:
        """Close the port."""
        self._run(self._runner.cleanup())

    def send(
        self, method: str, path: str, body: bytes = b"{}", /, **query: str
    ) -> tuple[int, bytes]:
        """Send a request; return the status and the body of the answer."""
        url = f"{self.url}{path}?{urlencode(query)}"
        data = None if method == "GET" else body
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(url, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def ask(self, method: str, path: str, content: Any = None, **query: str) -> Any:
        """Send JSON, check that it succeeds, and return the JSON of the answer."""
        status, body = self.send(method, path, json.dumps(content).encode(), **query)
        assert status < 300, body
        return json.loads(body)

    def stored(self) -> dict[str, bytes]:
        """Return every entity, by its key, as bytes that do not depend on an order."""
        return self.running.do(
            lambda: {
                repr((kind, path)): _sorted(row.record.entity)
                for kind in self.running.calls.stub.kinds()
                for path, row in self.running.calls.stub.kind(kind).rows.items()
            }
        )


def _sorted(entity: Message) -> bytes:
    """Serialize an entity with its properties in the order of their names."""
    copy = type(entity)()
    copy.CopyFrom(entity)
    for properties in (copy.property, copy.raw_property):
        properties.sort(key=lambda item: item.name)
    data: bytes = copy.SerializePartialToString(deterministic=True)
    return data
