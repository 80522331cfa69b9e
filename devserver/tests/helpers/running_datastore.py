"""A datastore for both libraries: Cloud NDB by gRPC, the bundled NDB by calls."""

import asyncio
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from google.appengine.api import apiproxy_rpc, apiproxy_stub_map
from google.cloud import ndb

from gae_devserver.testing.datastore import DatastoreThread
from tests.helpers.calls import APP_ID, PROJECT


class RunningDatastore(DatastoreThread):
    """A datastore on a free port, with clients of both kinds."""

    def __init__(self, **options: Any) -> None:
        """Start it; `options` are those of `DatastoreV1`."""
        self._tickets = itertools.count()
        super().__init__(PROJECT, **options)

    def client(self, **options: Any) -> ndb.Client:
        """Return a Cloud NDB client, which only needs the address."""
        os.environ["DATASTORE_EMULATOR_HOST"] = self.host
        return ndb.Client(project=PROJECT, **options)

    @contextmanager
    def bundled(self) -> Iterator[None]:
        """Let `google.appengine.ext.ndb` of this thread use the same store."""
        ticket = f"request{next(self._tickets)}"
        before = apiproxy_stub_map.apiproxy
        apiproxy_stub_map.apiproxy = _StubMap(self, ticket)
        os.environ["GAE_APPLICATION"] = os.environ["APPLICATION_ID"] = APP_ID
        try:
            yield
        finally:
            apiproxy_stub_map.apiproxy = before


class _StubMap(apiproxy_stub_map.APIProxyStubMap):  # type: ignore[misc]
    """Hands calls of one request to the server's loop."""

    def __init__(self, running: RunningDatastore, ticket: str) -> None:
        super().__init__()
        self.GetStub = lambda service: _Stub(running, ticket)


class _Stub:
    def __init__(self, running: RunningDatastore, ticket: str) -> None:
        self._running = running
        self._ticket = ticket

    def CreateRPC(self) -> Any:
        return apiproxy_rpc.RPC(stub=self)

    def MakeSyncCall(
        self, service: str, method: str, request: Any, response: Any, *_: Any
    ) -> None:
        assert service == "datastore_v3"
        call = self._running.calls.call(method, request, response, self._ticket)
        asyncio.run_coroutine_threadsafe(call, self._running.loop).result(30)
