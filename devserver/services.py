"""The 14 App Engine services: which of the SDK's stubs answers, and where it runs."""

import asyncio
import functools
import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from google.appengine.api import (
    apiproxy_stub_map,
    full_app_id,
    request_info,
)
from google.appengine.runtime import apiproxy_errors
from google.protobuf.message import DecodeError

from devserver import rpc_table
from devserver.clock import Clock
from devserver.config import AppConfig, QueueConfig
from devserver.datastore import Datastore, DatastoreCalls
from devserver.entity_locks import LOCK_DEADLINE, EntityGroupLocks
from devserver.running_requests import RunningRequests
from devserver.taskqueue import TaskQueue

logger = logging.getLogger("devserver")

# these wait for the network or compute for long; in the loop they would stall every
# other request, and an app that fetches a URL of its own would wait for itself
_IN_THREADS = frozenset({"images", "mail", "urlfetch"})
_MAX_THREADS = 32

# from here on memcache takes an expiration for seconds since the epoch
_MAX_MEMCACHE_SECONDS = 30 * 86400


class _Dispatcher(request_info.Dispatcher):  # type: ignore[misc]
    """What the modules API can know of an app with one service and one version."""

    def __init__(self, service: str, version: str, hostname: str) -> None:
        self._service = service
        self._version = version
        self._hostname = hostname

    def get_module_names(self) -> list[str]:
        return [self._service]

    def get_versions(self, module: str) -> list[str]:
        if module != self._service:
            raise request_info.ModuleDoesNotExistError(module)
        return [self._version]

    def get_default_version(self, module: str) -> str:
        return self.get_versions(module)[0]

    def get_hostname(self, module: str, version: str, instance: Any = None) -> str:
        self._check(module, version)
        if instance is not None:
            raise request_info.InvalidInstanceIdError(instance)
        return self._hostname

    def _check(self, module: str, version: str) -> None:
        if version not in self.get_versions(module):
            raise request_info.VersionDoesNotExistError(version)

    def _refuse(self, module: str, version: str, *_: Any) -> Any:
        # App Engine answers so for automatic scaling, and that is what runs here
        self._check(module, version)
        raise request_info.NotSupportedWithAutoScalingError

    set_num_instances = get_num_instances = start_version = stop_version = _refuse

    def send_background_request(self, *_: Any) -> Any:
        raise request_info.NotSupportedWithAutoScalingError


class _RequestInfo(request_info.RequestInfo):  # type: ignore[misc]
    """What the stubs ask about the request that makes a call."""

    def __init__(
        self, service: str, version: str, hostname: str, requests: RunningRequests
    ) -> None:
        self._service = service
        self._version = version
        self._requests = requests
        self._hostname = hostname
        self._dispatcher = _Dispatcher(service, version, hostname)

    def get_request_url(self, request_id: str | None) -> str:
        return self._requests.url(request_id) or f"http://{self._hostname}/"

    # the request id is None when a commit adds its transactional tasks
    def get_module(self, request_id: str | None) -> str:
        return self._service

    def get_version(self, request_id: str | None) -> str:
        return self._version

    def get_instance(self, request_id: str | None) -> None:
        return None

    def get_dispatcher(self) -> _Dispatcher:
        return self._dispatcher


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
        """
        self.app_id = f"dev~{project}"
        full_app_id.put(self.app_id)
        # the blobstore's stub makes a user of nobody, and that asserts a domain
        os.environ["AUTH_DOMAIN"] = "gmail.com"
        self._clock = clock
        self._hostname = default_hostname
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._executor = ThreadPoolExecutor(_MAX_THREADS, "service")
        self._info = _RequestInfo(config.service, version, default_hostname, requests)
        self._stubs: dict[str, Any] = {}
        # the stubs call each other through the SDK's client, for instance a commit
        # the task queue
        apiproxy_stub_map.apiproxy = _StubMap(self.stub)
        datastore = Datastore(self.app_id)
        self.taskqueue = TaskQueue(
            config.queues,
            clock,
            self._info,
            app_id=self.app_id,
            default_hostname=default_hostname,
            own_targets=frozenset({config.service, version}),
        )
        self._add("datastore_v3", datastore)
        self._add("taskqueue", self.taskqueue)
        self.datastore = DatastoreCalls(datastore, EntityGroupLocks(lock_deadline))
        requests.on_end(self.datastore.request_ended)

    def stub(self, service: str) -> Any:
        """Return the stub of a service.

        Raises:
            KeyError: there is no such service.
        """
        if service not in self._stubs:
            self._add(service, _MAKERS[service](self))
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
            raise apiproxy_errors.ArgumentError(f"missing in the request: {missing}")
        response = response_class()
        try:
            await self._ask(service, method, request, response, ticket)
        except AssertionError as error:
            # so the stubs refuse what the SDK's own client never sends
            raise apiproxy_errors.ArgumentError(str(error)) from None
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

    def update_queues(self, queues: Sequence[QueueConfig]) -> None:
        """Take over a changed queue.yaml."""
        self.taskqueue.update(queues)

    def clear(self) -> None:
        """Forget entities, tasks and whatever the other services keep."""
        self.datastore.clear()
        self.taskqueue.clear()
        for service in set(self._stubs) - {"datastore_v3", "taskqueue"}:
            del self._stubs[service]

    def close(self) -> None:
        """Let go of the threads; what still runs in them is not waited for."""
        self._executor.shutdown(wait=False, cancel_futures=True)


# The imports are in the functions: a server that only runs tasks is ready sooner.


def _app_identity(_: Services) -> Any:
    from google.appengine.api.app_identity import app_identity_stub

    # not Create(): that looks for credentials on the network first
    return app_identity_stub.AppIdentityServiceStub()


def _blobstore(services: Services) -> Any:
    from google.appengine.api.blobstore import blobstore_stub, dict_blob_storage

    return blobstore_stub.BlobstoreServiceStub(
        dict_blob_storage.DictBlobStorage(),
        request_data=services._info,
        # without one the stub makes a folder, which it never uses nor deletes
        storage_dir=os.devnull,
    )


def _capability(_: Services) -> Any:
    from google.appengine.api.capabilities import capability_stub

    return capability_stub.CapabilityServiceStub()


def _datastore_v4(services: Services) -> Any:
    from google.appengine.datastore import datastore_v4_stub

    return datastore_v4_stub.DatastoreV4Stub(services.app_id)


def _images(services: Services) -> Any:
    from google.appengine.api.images import images_stub
    from PIL import Image

    # the stub's name for it, which Pillow 10 has dropped
    Image.ANTIALIAS = Image.Resampling.LANCZOS  # type: ignore[attr-defined]
    return images_stub.ImagesServiceStub(host_prefix=f"http://{services._hostname}")


def _mail(_: Services) -> Any:
    from google.appengine.api import mail_stub

    return mail_stub.MailServiceStub()


def _memcache(services: Services) -> Any:
    from google.appengine.api.memcache import memcache_stub

    return memcache_stub.MemcacheServiceStub(gettime=services._clock.now)


def _modules(services: Services) -> Any:
    from google.appengine.api.modules import modules_stub

    return modules_stub.ModulesServiceStub(services._info)


def _search(_: Services) -> Any:
    from google.appengine.api.search import simple_search_stub

    return simple_search_stub.SearchServiceStub()


def _system(services: Services) -> Any:
    from google.appengine.api.system import system_stub

    return system_stub.SystemServiceStub(request_data=services._info)


def _urlfetch(_: Services) -> Any:
    from google.appengine.api import urlfetch_stub

    return urlfetch_stub.URLFetchServiceStub()


def _user(services: Services) -> Any:
    from google.appengine.api import user_service_stub

    return user_service_stub.UserServiceStub(request_data=services._info)


_MAKERS: dict[str, Callable[[Services], Any]] = {
    "app_identity_service": _app_identity,
    "blobstore": _blobstore,
    "capability_service": _capability,
    "datastore_v4": _datastore_v4,
    "images": _images,
    "mail": _mail,
    "memcache": _memcache,
    "modules": _modules,
    "search": _search,
    "system": _system,
    "urlfetch": _urlfetch,
    "user": _user,
}
