"""The APIs that the app's process calls, and the two ports that serve them."""

import asyncio
import socket
from collections.abc import Callable, Mapping

from gae_devserver.app.process import LaunchSettings
from gae_devserver.clock import Clock
from gae_devserver.cloud_tasks.api import rpcs_of
from gae_devserver.cloud_tasks.identity import Identity
from gae_devserver.cloud_tasks.rest import Rest
from gae_devserver.cloud_tasks.service import CloudTasks
from gae_devserver.cloud_tasks.task_rpcs import RunNow
from gae_devserver.config.application import Application
from gae_devserver.datastore.needed_indexes import WhenMissing
from gae_devserver.datastore_v1.databases import Databases
from gae_devserver.datastore_v1.index_admin import IndexAdmin
from gae_devserver.datastore_v1.limits import DEFAULT_LIMITS, NEVER_EXPIRES
from gae_devserver.datastore_v1.rest import DatastoreRest
from gae_devserver.datastore_v1.server import DatastoreV1
from gae_devserver.http.own_fetches import OwnFetches
from gae_devserver.http.routing import Routing
from gae_devserver.http.running_requests import RunningRequests
from gae_devserver.instances.instance import refuse_background_thread
from gae_devserver.mail.smtp_server import SmtpServer
from gae_devserver.rpc.method import BeforeAnswer, recorded
from gae_devserver.rpc.port import GrpcPort
from gae_devserver.services.api_server import ApiCall, ApiServer
from gae_devserver.services.call_connection import CallServer
from gae_devserver.services.metadata import Metadata
from gae_devserver.services.request_info import RunningService
from gae_devserver.services.services import Services
from gae_devserver.services.stubs import FindPid, StartThread
from gae_devserver.storage.storage import Storage


class Apis:
    """API calls, the Datastore and Cloud Tasks, on the same entities and queues."""

    def __init__(
        self,
        application: Application,
        running: Mapping[str, RunningService],
        launch: LaunchSettings,
        clock: Clock,
        requests: RunningRequests,
        routing: Routing,
        *,
        token: str,
        default_hostname: str,
        run_now: RunNow,
        storage: Storage | None,
        cloud_tasks: bool = True,
        smtp: SmtpServer | None = None,
        start_thread: StartThread = refuse_background_thread,
        find_pid: FindPid = lambda ticket: None,
        own_fetches: OwnFetches | None = None,
        when_index_missing: WhenMissing = "report",
        around_call: Callable[[ApiCall], ApiCall] = lambda call: call,
        after_rpc: BeforeAnswer = lambda name: None,
        when_cleared: Callable[[], None] = lambda: None,
    ) -> None:
        """Make the APIs of one app.

        Args:
            application: the app.
            running: its services by their names, the main one first.
            launch: what its process is told, such as the gRPC port.
            clock: the time of the services.
            requests: the requests that may make API calls.
            routing: finds the services of tasks.
            token: what allows other programs to make API calls.
            default_hostname: "host:port" of the public port.
            run_now: starts a task at once.
            storage: where entities and tasks are kept; None: nowhere.
            cloud_tasks: whether to serve Cloud Tasks.
            smtp: where mail is sent; None: nowhere.
            start_thread: starts a background thread of a service.
            find_pid: finds the process of a service, to measure what it uses.
            own_fetches: recognizes fetches of the app's own URLs; None: of none.
            when_index_missing: what to do about a query that index.yaml does not
                serve.
            around_call: returns what carries out API calls instead.
            after_rpc: called with the name of an RPC whose changes are stored; the
                client gets its RpcError.
            when_cleared: called by a reset, for what other parts keep.
        """
        self._others_cleared = when_cleared
        self.services = Services(
            application,
            running,
            launch.project,
            requests,
            clock,
            default_hostname=default_hostname,
            routing=routing,
            storage=storage,
            smtp=smtp,
            start_thread=start_thread,
            find_pid=find_pid,
            own_fetches=own_fetches,
            when_index_missing=when_index_missing,
            when_cleared=self._when_cleared,
        )
        self.identity = Identity()
        self._after_rpc = after_rpc
        self._datastore_v1 = DatastoreV1(
            self.services.datastore,
            self.services.app_id,
            storage=storage,
            before_answer=self._before_answer,
            on_query=self.services.indexes.check,
            limits=NEVER_EXPIRES if launch.terminal is not None else DEFAULT_LIMITS,
        )
        index_admin = IndexAdmin(
            self.services.indexes,
            self.services.app_id,
            before_answer=self._before_answer,
        )
        self._cloud_tasks = CloudTasks(
            self.services.taskqueue, clock, launch.project, run_now
        )
        rpcs = rpcs_of(self._cloud_tasks if cloud_tasks else None, self._before_answer)
        rpcs = recorded(rpcs, requests.activity)
        datastore_rpcs = recorded(self._datastore_v1.rpcs, requests.activity)
        over_http = DatastoreRest(datastore_rpcs, self._reset_datastore)
        self._grpc = GrpcPort(
            datastore_rpcs,
            recorded(index_admin.rpcs, requests.activity),
            rpcs,
            serve_http=over_http.answer,
        )
        self._server = ApiServer(
            around_call(self.services.call),
            requests,
            application.services,
            token,
            Metadata(launch.project),
            self.identity,
            Rest(rpcs),
        )
        self._calls = CallServer(self._server.respond)
        self._call_sockets = launch.calls

    @property
    def databases(self) -> Databases:
        """The databases of the Datastore, which the bundled API shares."""
        return self._datastore_v1.databases

    def apply(self, application: Application) -> None:
        """Use a changed configuration."""
        self._server.apply(application.services)
        self.services.apply(application)

    async def start(
        self, api_socket: socket.socket, grpc_socket: socket.socket
    ) -> None:
        """Serve API calls on a listening socket, and RPCs on another one.

        The app's processes also make calls over the sockets of `launch`.
        """
        await self._grpc.start(grpc_socket)
        await self._server.start(api_socket)
        self._call_sockets.attach(self._calls.serve)

    async def stop(self) -> None:
        """Close both ports; the services stay until their `close`."""
        self._calls.stop()
        await asyncio.gather(self._server.stop(), self._grpc.stop())

    def _when_cleared(self) -> None:
        """Clear what is not in the services, such as transactions over gRPC."""
        self._datastore_v1.clear()
        self._cloud_tasks.clear()
        self._others_cleared()

    def _reset_datastore(self) -> None:
        """Delete the entities of all databases, and end all transactions."""
        self._datastore_v1.clear()
        self.services.datastore.clear()
        # the bundled NDB keeps entities there too
        if (cache := self.services.used_stub("memcache")) is not None:
            cache.flush()
        self.services.flush()

    def _before_answer(self, rpc: str) -> None:
        """Store what an RPC has changed; then its answer may get lost."""
        self.services.flush()
        self._after_rpc(rpc)
