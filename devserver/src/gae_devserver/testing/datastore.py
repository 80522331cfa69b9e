"""The dev server's datastore alone, for code that uses Cloud NDB."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from gae_devserver.datastore.entity_locks import EntityGroupLocks
    from gae_devserver.datastore.stub import OnQuery

T = TypeVar("T")


class DatastoreThread:
    """A datastore that serves Cloud NDB from a thread of this process.

    The thread has an event loop of its own, because the client blocks the test.
    """

    def __init__(
        self,
        project: str,
        *,
        locks: "EntityGroupLocks | None" = None,
        on_query: "OnQuery" = lambda shape: None,
        **options: Any,
    ) -> None:
        """Serve an empty datastore on a free port.

        The locks are those of the default database; `on_query` gets the queries of both
        APIs; the options are those of `gae_devserver.datastore_v1.server.DatastoreV1`.
        """
        self.app_id = f"dev~{project}"
        self._locks = locks
        self._on_query = on_query
        self._options = options
        started: Future[int] = Future()
        self._thread = threading.Thread(target=asyncio.run, args=[self._run(started)])
        self._thread.start()
        self.port = started.result(20)
        self.host = f"127.0.0.1:{self.port}"

    async def _run(self, started: "Future[int]") -> None:
        try:
            started.set_result(await self._start())
        except BaseException as error:  # noqa: BLE001 - the constructor raises it
            started.set_exception(error)
            return
        await self._stop.wait()
        await self._grpc.stop()

    async def _start(self) -> int:
        from gae_devserver.datastore.calls import DatastoreCalls
        from gae_devserver.datastore.entity_locks import EntityGroupLocks
        from gae_devserver.datastore.stub import Datastore
        from gae_devserver.datastore_v1.rest import DatastoreRest
        from gae_devserver.datastore_v1.server import DatastoreV1
        from gae_devserver.rpc.port import GrpcPort

        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        locks = self._locks or EntityGroupLocks()
        on_query = self._on_query
        store = Datastore(self.app_id, on_query=on_query)
        self.calls = DatastoreCalls(store, locks)
        self.server = DatastoreV1(
            self.calls, self.app_id, on_query=on_query, **self._options
        )
        over_http = DatastoreRest(self.server.rpcs, self._clear)
        self._grpc = GrpcPort(self.server.rpcs, serve_http=over_http.answer)
        return await self._grpc.start()

    def do(self, function: Callable[[], T]) -> T:
        """Call a function in the datastore's thread and return its result."""

        async def call() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(20)

    def clear(self) -> None:
        """Delete everything, as a reset of the dev server does."""
        self.do(self._clear)

    def _clear(self) -> None:
        self.server.clear()
        self.calls.clear()

    def stop(self) -> None:
        """Stop the datastore, and wait until its thread has ended."""
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive()
