"""The 14 App Engine services: which of the SDK's stubs answers, and where it runs."""

import asyncio
import dataclasses
import gc
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from google.appengine.api import apiproxy_stub_map, datastore_errors, full_app_id
from google.appengine.runtime import apiproxy_errors

from gae_devserver.clock import Clock
from gae_devserver.cloud_tasks.queues import config_of
from gae_devserver.cloud_tasks.routing import service_in
from gae_devserver.config.application import Application
from gae_devserver.datastore.calls import DatastoreCalls
from gae_devserver.datastore.entity_locks import LOCK_DEADLINE, EntityGroupLocks
from gae_devserver.datastore.needed_indexes import NeededIndexes, WhenMissing
from gae_devserver.datastore.stub import Datastore
from gae_devserver.http.own_fetches import OwnFetches
from gae_devserver.http.routing import Routing
from gae_devserver.http.running_requests import RunningRequests
from gae_devserver.instances.instance import refuse_background_thread
from gae_devserver.mail.smtp_server import SmtpServer
from gae_devserver.services import rpc_table
from gae_devserver.services.request_info import AppRequestInfo, RunningService
from gae_devserver.services.stub_map import StubMap
from gae_devserver.services.stubs import (
    FindPid,
    MakeStub,
    StartThread,
    StubContext,
    make_stub,
)
from gae_devserver.storage.storage import Storage
from gae_devserver.tasks.stub import TaskQueue

# These wait for the network or compute for long. In the loop they would stall every
# other request, and an app that fetches one of its own URLs would wait for itself.
_IN_THREADS = frozenset({"images", "mail", "urlfetch"})
_MAX_THREADS = 32
_LARGE_CACHE = 2**24
_OFFSET = "clock offset in microseconds"

# Memcache reads a longer expiration as seconds since the epoch.
_MAX_MEMCACHE_SECONDS = 30 * 86400


class Services:
    """All services of one app, for the event loop that is running."""

    def __init__(
        self,
        application: Application,
        running: Mapping[str, RunningService],
        project: str,
        requests: RunningRequests,
        clock: Clock,
        *,
        default_hostname: str,
        routing: Routing,
        make_stub: MakeStub = make_stub,
        lock_deadline: float = LOCK_DEADLINE,
        storage: Storage | None = None,
        smtp: SmtpServer | None = None,
        start_thread: StartThread = refuse_background_thread,
        find_pid: FindPid = lambda ticket: None,
        own_fetches: OwnFetches | None = None,
        when_index_missing: WhenMissing = "report",
        when_cleared: Callable[[], None] = lambda: None,
    ) -> None:
        """Make the services.

        Args:
            application: the app's services, queues and indexes.
            running: its services by their names, the main one first.
            project: the app id is "dev~" and the project.
            requests: the running requests.
            clock: the time of tasks and memcache.
            default_hostname: "host:port" of the public port.
            routing: finds the services of tasks.
            make_stub: makes the stubs, except those of the datastore and task queue.
            lock_deadline: seconds that a transaction waits for another one.
            storage: where entities, tasks and the clock are kept; None: nowhere.
            smtp: where mail is sent; None: nowhere.
            start_thread: starts a background thread of a service.
            find_pid: finds the process of a service, to measure what it uses.
            own_fetches: recognizes fetches of the app's own URLs; None: of none.
            when_index_missing: what to do about a query that index.yaml does not
                serve.
            when_cleared: called by `clear`, for what is kept elsewhere.
        """
        self.app_id = f"dev~{project}"
        full_app_id.put(self.app_id)
        # The blobstore's stub creates a user without an address, which fails without
        # a domain.
        os.environ["AUTH_DOMAIN"] = "gmail.com"
        self._clock = clock
        self._requests = requests
        self._rules = application.dispatch
        self._loop = asyncio.get_running_loop()
        self._executor = ThreadPoolExecutor(_MAX_THREADS, "service")
        info = AppRequestInfo(running, requests, default_hostname=default_hostname)
        stub_map = StubMap(self.stub)
        self._in_loop = stub_map.in_loop
        self._clears = 0
        self._stub_context = StubContext(
            self.app_id,
            clock,
            info,
            self._in_loop,
            storage,
            smtp,
            start_thread,
            find_pid,
            own_fetches,
        )
        self._make_stub = make_stub
        apiproxy_stub_map.apiproxy = stub_map
        self._storage = storage
        if storage is not None:
            clock.offset = (storage.counter(_OFFSET) or 0) / 1e6
        self._stored_offset = clock.offset
        self.indexes = NeededIndexes(
            application.files.index, application.indexes, when_index_missing
        )
        on_query = self.indexes.check
        datastore = Datastore(self.app_id, storage, on_query=on_query)
        self.taskqueue = TaskQueue(
            application.queues,
            clock,
            info,
            app_id=self.app_id,
            default_hostname=default_hostname,
            routing=routing,
            storage=storage,
            config_of=config_of,
            service_in=service_in,
            on_add=requests.activity.add_task,
        )
        self._stubs = {"datastore_v3": datastore, "taskqueue": self.taskqueue}
        self.datastore = DatastoreCalls(datastore, EntityGroupLocks(lock_deadline))
        self._when_cleared = when_cleared
        requests.on_end(self.datastore.request_ended)

    def stub(self, service: str) -> Any:
        """Return the stub of a service, made when it is first needed.

        Raises:
            KeyError: there is no such service.
        """
        if service not in self._stubs:
            context = dataclasses.replace(
                self._stub_context, in_loop=self._in_loop_until_cleared()
            )
            self._stubs[service] = self._make_stub(service, context)
        return self._stubs[service]

    def used_stub(self, service: str, *, stored: bool = False) -> Any:
        """Return the stub of a service; None: nothing has needed it yet.

        With `stored`, return it also if it may have something from an earlier run.
        """
        if stored and self._storage is not None:
            return self.stub(service)
        return self._stubs.get(service)

    def _in_loop_until_cleared(self) -> Callable[..., Any]:
        """Return an `in_loop` that fails once the services were cleared.

        A thread that is still sending a mail then must not keep it.
        """
        clears = self._clears

        def in_loop(function: Callable[..., Any], *args: Any) -> Any:
            def call() -> Any:
                if self._clears != clears:
                    raise apiproxy_errors.RPCFailedError(
                        "the server was reset during this call"
                    )
                return function(*args)

            return self._in_loop(call)

        return in_loop

    async def call(self, service: str, method: str, data: bytes, ticket: str) -> bytes:
        """Carry out one API call, such as "Get" of "datastore_v3".

        `data` is the serialized request message, and the result the response message.
        `ticket` is that of the app's request that makes the call.

        Raises:
            apiproxy_errors.Error: the error that the client raises in the app.
        """
        try:
            request_class, response_class = rpc_table.message_classes(service, method)
        except LookupError as error:
            raise apiproxy_errors.CallNotFoundError(error.args[0]) from None
        request = rpc_table.parse(request_class, data, "the request")
        response = response_class()
        try:
            await self._ask(service, method, request, response, ticket)
        except (AssertionError, datastore_errors.BadValueError) as error:
            # The stubs assert what the SDK's own client never violates, and make keys
            # of what a request names.
            raise apiproxy_errors.ArgumentError(str(error)) from None
        finally:
            self.datastore.claim(ticket)
            self.flush()
        return response.SerializeToString()

    async def _ask(
        self, service: str, method: str, request: Any, response: Any, ticket: str
    ) -> None:
        if service == "datastore_v3":
            await self.datastore.call(method, request, response, ticket)
            return
        if service == "taskqueue":
            caller = self._requests.service(ticket)
            self.taskqueue.accept(method, request, caller)
        elif service == "memcache" and method == "Set":
            for item in request.item:
                # The app computed this moment with the real time. A duration needs
                # no change.
                if item.expiration_time > _MAX_MEMCACHE_SECONDS:
                    item.expiration_time += int(self._clock.offset)
        ask = self.stub(service).MakeSyncCall
        args = (service, method, request, response, ticket)
        if service in _IN_THREADS:
            await self._loop.run_in_executor(self._executor, ask, *args)
        else:
            ask(*args)

    def flush(self) -> None:
        """Store the clock and all other changes. Call it before each answer."""
        if self._storage is not None:
            if self._clock.offset != self._stored_offset:
                self._stored_offset = self._clock.offset
                self._storage.set_counter(_OFFSET, int(self._stored_offset * 1e6))
            self._storage.flush()

    def apply(self, application: Application) -> None:
        """Use a changed queue.yaml, dispatch.yaml and index.yaml."""
        self.taskqueue.update(application.queues)
        if application.dispatch != self._rules:
            self._rules = application.dispatch
            self.taskqueue.route_again()
        self.indexes.apply(application.indexes)

    def clear(self) -> None:
        """Delete entities, tasks and what every other service keeps."""
        self.datastore.clear()
        self.indexes.clear()
        self.taskqueue.clear()
        self._when_cleared()
        self._clears += 1
        if self._storage is not None:
            self._storage.clear()
        cache: Any = self._stubs.get("memcache")
        is_large = cache is not None and cache._lru.total_byte_size > _LARGE_CACHE
        del cache
        for service in set(self._stubs) - {"datastore_v3", "taskqueue"}:
            del self._stubs[service]
        if is_large:
            # its entries refer to each other, and a collection takes 20 ms
            gc.collect()

    def close(self) -> None:
        """Close the threads, without waiting for them, and the storage."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        if self._storage is not None:
            self._storage.close()
