"""The 14 App Engine services: which of the SDK's stubs answers, and where it runs."""

import asyncio
import functools
import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from google.appengine.api import apiproxy_stub_map, full_app_id
from google.appengine.runtime import apiproxy_errors
from google.protobuf.message import DecodeError

from gae_devserver.clock import Clock
from gae_devserver.config.app_yaml import AppConfig
from gae_devserver.config.queue_yaml import QueueConfig
from gae_devserver.datastore.calls import DatastoreCalls
from gae_devserver.datastore.entity_locks import LOCK_DEADLINE, EntityGroupLocks
from gae_devserver.datastore.stub import Datastore
from gae_devserver.http.running_requests import RunningRequests
from gae_devserver.services import rpc_table
from gae_devserver.services.request_info import AppRequestInfo
from gae_devserver.services.stubs import MAKERS, Surroundings
from gae_devserver.storage.storage import Storage
from gae_devserver.tasks.stub import TaskQueue

logger = logging.getLogger("gae_devserver")

# these wait for the network or compute for long; in the loop they would stall every
# other request, and an app that fetches a URL of its own would wait for itself
_IN_THREADS = frozenset({"images", "mail", "urlfetch"})
_MAX_THREADS = 32
_OFFSET = "clock offset in microseconds"

# from here on memcache takes an expiration for seconds since the epoch
_MAX_MEMCACHE_SECONDS = 30 * 86400


class _StubMap(apiproxy_stub_map.APIProxyStubMap):  # type: ignore[misc]
    """The stubs by service, made when they are first asked for."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        super().__init__()
        self.GetStub = make


class Services:
    """All services of one app. To be made inside the event loop that it serves."""

    def __init__(
        self,
        config: AppConfig,
        project: str,
        requests: RunningRequests,
        clock: Clock,
        *,
        default_hostname: str,
        version: str = "1",
        lock_deadline: float = LOCK_DEADLINE,
        storage: Storage | None = None,
        when_cleared: Callable[[], None] = lambda: None,
    ) -> None:
        """Make the services.

        Args:
            config: the app's app.yaml and queue.yaml.
            project: the project; the app id is "dev~" and the project.
            requests: the requests that run, by ticket.
            clock: the time of tasks and of memcache.
            default_hostname: "host:port" of the app.
            version: what the app has as GAE_VERSION.
            lock_deadline: seconds that a transaction waits for another.
            storage: where entities, tasks and the clock are kept; None: nowhere.
            when_cleared: called after `clear`, for what is kept elsewhere.
        """
        self.app_id = f"dev~{project}"
        full_app_id.put(self.app_id)
        # the blobstore's stub makes a user of nobody, and that asserts a domain
        os.environ["AUTH_DOMAIN"] = "gmail.com"
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._executor = ThreadPoolExecutor(_MAX_THREADS, "service")
        info = AppRequestInfo(config.service, version, default_hostname, requests)
        self._around = Surroundings(self.app_id, default_hostname, clock, info)
        self._stubs: dict[str, Any] = {}
        # the stubs call each other through the SDK's client, for instance a commit
        # the task queue
        apiproxy_stub_map.apiproxy = _StubMap(self.stub)
        self._storage = storage
        if storage is not None:
            clock.offset = (storage.counter(_OFFSET) or 0) / 1e6
        self._stored_offset = clock.offset
        datastore = Datastore(self.app_id, storage)
        self.taskqueue = TaskQueue(
            config.queues,
            clock,
            info,
            app_id=self.app_id,
            default_hostname=default_hostname,
            service=config.service,
            version=version,
            storage=storage,
        )
        self._add("datastore_v3", datastore)
        self._add("taskqueue", self.taskqueue)
        self.datastore = DatastoreCalls(datastore, EntityGroupLocks(lock_deadline))
        self._when_cleared = when_cleared
        requests.on_end(self.datastore.request_ended)

    def stub(self, service: str) -> Any:
        """Return the stub of a service.

        Raises:
            KeyError: there is no such service.
        """
        if service not in self._stubs:
            self._add(service, MAKERS[service](self._around))
        return self._stubs[service]

    def _add(self, service: str, stub: Any) -> None:
        if service not in _IN_THREADS:
            # a stub with state is not thread-safe, so a call out of a thread (images
            # reads blobs) is carried out in the loop
            stub.MakeSyncCall = self._in_loop(stub.MakeSyncCall)
        self._stubs[service] = stub

    def _in_loop(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(done: Future[Any], args: tuple[Any, ...], kwargs: Any) -> None:
            try:
                done.set_result(function(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - the caller raises it
                done.set_exception(error)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() == self._loop_thread:
                return function(*args, **kwargs)
            done: Future[Any] = Future()
            self._loop.call_soon_threadsafe(run, done, args, kwargs)
            return done.result()

        return call

    async def call(self, service: str, method: str, data: bytes, ticket: str) -> bytes:
        """Carry out one API call.

        Args:
            service: the service's name, such as "datastore_v3".
            method: the method's name, such as "Get".
            data: the serialized request message.
            ticket: the request of the app that makes the call.

        Returns:
            The serialized response message.

        Raises:
            apiproxy_errors.Error: what the client is to see.
        """
        try:
            request_class, response_class = rpc_table.message_classes(service, method)
        except LookupError as error:
            raise apiproxy_errors.CallNotFoundError(error.args[0]) from None
        try:
            request = request_class.FromString(data)
        except DecodeError as error:
            raise apiproxy_errors.ArgumentError(str(error)) from None
        if not request.IsInitialized():
            missing = ", ".join(request.FindInitializationErrors())
            raise apiproxy_errors.ArgumentError(
                f"the request lacks required fields: {missing}"
            )
        response = response_class()
        try:
            await self._ask(service, method, request, response, ticket)
        except AssertionError as error:
            # so the stubs refuse what the SDK's own client never sends
            raise apiproxy_errors.ArgumentError(str(error)) from None
        finally:
            self.datastore.claim(ticket)
            self.flush()
        serialized: bytes = response.SerializeToString()
        return serialized

    async def _ask(
        self, service: str, method: str, request: Any, response: Any, ticket: str
    ) -> None:
        if service == "datastore_v3":
            await self.datastore.call(method, request, response, ticket)
            return
        if service == "taskqueue":
            self.taskqueue.accept(method, request)
        elif service == "memcache" and method == "Set":
            for item in request.item:
                # a moment, computed by the app with the real time; else a duration
                if item.expiration_time > _MAX_MEMCACHE_SECONDS:
                    item.expiration_time += int(self._clock.offset)
        ask = functools.partial(
            self.stub(service).MakeSyncCall,
            *(service, method, request, response, ticket),
        )
        if service in _IN_THREADS:
            await self._loop.run_in_executor(self._executor, ask)
        else:
            ask()

    def flush(self) -> None:
        """Write what has changed to the storage; to be called before an answer."""
        if self._storage is not None:
            if self._clock.offset != self._stored_offset:
                self._stored_offset = self._clock.offset
                self._storage.set_counter(_OFFSET, int(self._stored_offset * 1e6))
            self._storage.flush()

    def apply(self, config: AppConfig) -> None:
        """Use a changed queue.yaml."""
        self.taskqueue.update(config.queues)

    def update_queues(self, queues: Sequence[QueueConfig]) -> None:
        """Take over a changed queue.yaml."""
        self.taskqueue.update(queues)

    def clear(self) -> None:
        """Forget entities, tasks and whatever the other services keep."""
        self.datastore.clear()
        self.taskqueue.clear()
        self._when_cleared()
        if self._storage is not None:
            self._storage.clear()
        for service in set(self._stubs) - {"datastore_v3", "taskqueue"}:
            del self._stubs[service]

    def close(self) -> None:
        """Let go of the threads; what still runs in them is not waited for."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        if self._storage is not None:
            self._storage.close()
