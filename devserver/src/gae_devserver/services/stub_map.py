"""The SDK's stub map, with every call carried out in the event loop."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from google.appengine.api import apiproxy_rpc, apiproxy_stub_map


class StubMap(apiproxy_stub_map.APIProxyStubMap):  # type: ignore[misc]
    """Finds the stub for a call of the SDK's client, which may come from any thread.

    Stubs call each other through the client: a commit calls the task queue, and images,
    which run in threads, read blobs.
    """

    def __init__(self, stub: Callable[[str], Any]) -> None:
        """Make the map for the running event loop; `stub` returns a service's stub."""
        super().__init__()
        self._stub = stub
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()

    def GetStub(self, service: str) -> Any:
        """Return the stub of a service, safe to call from any thread."""
        return _LoopStub(self._stub(service), self.in_loop)

    def in_loop(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function in the event loop, from any thread; return its result."""
        if threading.get_ident() == self._loop_thread:
            return function(*args)

        async def call() -> Any:
            return function(*args)

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result()


class _LoopStub:
    """A stub whose calls run in the event loop, because stubs are not thread-safe."""

    def __init__(self, stub: Any, in_loop: Callable[..., Any]) -> None:
        self._stub = stub
        self._in_loop = in_loop

    def CreateRPC(self) -> Any:
        return apiproxy_rpc.RPC(stub=self)

    def MakeSyncCall(self, *args: Any) -> Any:
        return self._in_loop(self._stub.MakeSyncCall, *args)

    def __getattr__(self, name: str) -> Any:
        # The SDK's stubs also use each other's attributes.
        return getattr(self._stub, name)
