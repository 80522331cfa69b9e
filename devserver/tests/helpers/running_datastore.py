"""A datastore for both libraries: Cloud NDB over gRPC, the bundled NDB by calls."""

import asyncio
import itertools
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from google.appengine.api import apiproxy_rpc, apiproxy_stub_map
from google.cloud import ndb

from gae_devserver.datastore.entity_locks import EntityGroupLocks, Owner
from gae_devserver.datastore_v1.limits import Limits
from gae_devserver.testing import wait_until
from gae_devserver.testing.datastore import DatastoreThread
from tests.helpers.calls import APP_ID, PROJECT

IMPATIENT = pytest.mark.parametrize(
    "running", [Limits(patience=0.05)], ids=["impatient"], indirect=True
)
"""Marks a test whose calls soon continue without a lock that another one holds."""


class WatchedLocks(EntityGroupLocks):
    """Locks that show how many calls wait for one."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = 0
        self.waits = 0

    async def acquire(
        self, owner: Owner, groups: Iterable[bytes], most: float | None = None
    ) -> None:
        """Take locks."""
        self.waiting += 1
        groups = list(groups)
        self.waits += any(self.holder(group) not in (None, owner) for group in groups)
        try:
            await super().acquire(owner, groups, most)
        finally:
            self.waiting -= 1


class RunningDatastore(DatastoreThread):
    """A datastore on a free port, with clients of both kinds."""

    def __init__(self, **options: Any) -> None:
        """Start it with options of `DatastoreV1`."""
        self._tickets = itertools.count()
        self.locks = WatchedLocks()
        super().__init__(PROJECT, locks=self.locks, **options)

    def is_idle(self) -> bool:
        """Return whether no transaction is open and no lock is held."""
        return self.do(
            lambda: not (self.server.open_transactions or self.locks.held_groups)
        )

    @property
    def waits(self) -> int:
        """How many calls had to wait for a lock since the last `clear`."""
        return self.locks.waits

    def clear(self) -> None:
        """Delete everything."""
        super().clear()
        self.locks.waits = 0

    def wait_for_waiter(self) -> None:
        """Return as soon as a call waits for a lock."""
        wait_until(lambda: self.do(lambda: self.locks.waiting), "a call that waits")

    def client(self, **options: Any) -> ndb.Client:
        """Return a Cloud NDB client, which needs only the address."""
        os.environ["DATASTORE_EMULATOR_HOST"] = self.host
        return ndb.Client(project=PROJECT, **options)

    @contextmanager
    def bundled(self) -> Iterator[None]:
        """Let `google.appengine.ext.ndb` of this process use the same store.

        Each thread is a request of its own.
        """
        before = apiproxy_stub_map.apiproxy
        apiproxy_stub_map.apiproxy = apiproxy_stub_map.APIProxyStubMap(
            _Stub(self, f"request{next(self._tickets)}")
        )
        os.environ["GAE_APPLICATION"] = os.environ["APPLICATION_ID"] = APP_ID
        try:
            yield
        finally:
            apiproxy_stub_map.apiproxy = before


class _Stub:
    """Hands the calls of one request to the datastore's loop."""

    def __init__(self, running: RunningDatastore, ticket: str) -> None:
        self._running = running
        self._ticket = ticket

    def CreateRPC(self) -> Any:
        return apiproxy_rpc.RPC(stub=self)

    def MakeSyncCall(
        self, service: str, method: str, request: Any, response: Any, *_: Any
    ) -> None:
        assert service == "datastore_v3"
        ticket = f"{self._ticket} {threading.get_ident()}"
        call = self._running.calls.call(method, request, response, ticket)
        asyncio.run_coroutine_threadsafe(call, self._running.loop).result(30)
