"""One RPC of an API: bytes in, bytes out, errors as status codes."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from google.protobuf.message import DecodeError

from gae_devserver.activity.activity import Activity
from gae_devserver.rpc.errors import InvalidArgumentError, RpcError
from gae_devserver.storage.storage import StorageError

logger = logging.getLogger("gae_devserver")

TICKET_HEADER = "x-devserver-ticket"
"""Holds the ticket of the request in which the app makes an RPC."""

# bytes of a request that can be kept until the RPC has ended, and after that
_KEPT = 2**16

CarryOut = Callable[[Any, Any], Awaitable[None]]
"""Reads a request and fills its response; raises RpcError for the client's errors."""

BeforeAnswer = Callable[[str], None]
"""Called with an RPC's name after it succeeded, before its answer is sent."""


@dataclass(frozen=True)
class Method:
    """One RPC, with plain protocol buffers as its messages."""

    name: str
    """The service and the RPC, such as "Datastore.Lookup"."""
    request_class: Any
    response_class: Any
    carry_out: CarryOut
    before_answer: BeforeAnswer = lambda name: None
    abandon: Callable[[Any], None] = lambda response: None
    """Called with the unfinished response after the RPC failed."""
    activity: Activity | None = None
    """Keeps the RPCs of each request of the app."""

    async def call(
        self, request: Any, ticket: str | None = None, encoded: bytes = b""
    ) -> Any:
        """Carry out a request; return its response.

        The request of the app that makes it has the ticket. `encoded` is kept.

        Raises:
            RpcError: the error that the client sees.
        """
        response = self.response_class()
        began = time.perf_counter()
        failed = ""
        if self.activity is not None:
            self.activity.begin_call(ticket)
        try:
            try:
                await self.carry_out(request, response)
            except BaseException:
                # BaseException: a client that hangs up cancels the call.
                self.abandon(response)
                raise
            self.before_answer(self.name)
        except RpcError as error:
            failed = f"{error.code.name}: {error}"
            raise
        except StorageError as error:
            failed = str(error)
            logger.error("the changes of %s were not stored: %s", self.name, error)
            raise RpcError(str(error)) from error
        except asyncio.CancelledError:
            failed = "CANCELLED"
            raise
        except Exception as error:
            failed = f"{type(error).__name__}: {error}"
            logger.exception("%s failed", self.name)
            raise RpcError(
                f"The dev server failed during {self.name}. Its output has the details."
            ) from error
        finally:
            took = time.perf_counter() - began
            logger.debug("API call %s %.1f ms", self.name, took * 1e3)
            if self.activity is not None:
                self.activity.add_call(ticket, self.name, encoded, began, failed)
        return response

    async def handle(self, data: bytes, ticket: str | None = None) -> bytes:
        """Answer a call of gRPC, which the request of the app with the ticket makes.

        Raises:
            RpcError: the error that the client sees.
        """
        try:
            request = self.request_class.FromString(data)
        except DecodeError:
            text = f"The request of {self.name} is malformed."
            raise InvalidArgumentError(text) from None
        kept = b"" if ticket is None or len(data) > _KEPT else data
        # an error keeps this frame until the garbage collector runs
        del data
        response = await self.call(request, ticket, kept)
        return response.SerializeToString()


def recorded(rpcs: Mapping[str, Method], activity: Activity) -> dict[str, Method]:
    """Return RPCs that are kept with the request of the app that makes them."""
    return {name: replace(rpc, activity=activity) for name, rpc in rpcs.items()}
