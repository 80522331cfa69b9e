"""Wraps an RPC for gRPC: bytes in, bytes out, errors as status codes."""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio
from google.protobuf.message import DecodeError

from gae_devserver.datastore_v1 import messages
from gae_devserver.datastore_v1.errors import RpcError
from gae_devserver.storage.storage import StorageError

logger = logging.getLogger("gae_devserver")

SHORTEST_TIME = 0.001
"""Seconds below which no time is left: gRPC rounds a deadline up to milliseconds."""

Rpc = Callable[[Any, Any], Awaitable[None]]
"""Reads a request and fills its response."""


def rpc_handler(
    name: str,
    rpc: Rpc,
    before_answer: Callable[[str], None],
    abandon: Callable[[Any], None],
) -> Callable[[bytes, Any], Awaitable[bytes]]:
    """Return the function that gRPC calls for an RPC.

    Args:
        name: the RPC's name, such as "Lookup".
        rpc: carries it out; raises RpcError for errors that the client sees.
        before_answer: called with the name after the RPC succeeded.
        abandon: called with the unfinished response after the RPC failed.
    """
    request_class = getattr(messages.datastore, f"{name}Request").pb()
    response_class = getattr(messages.datastore, f"{name}Response").pb()

    async def handle(data: bytes, context: Any) -> bytes:
        response = response_class()
        began = time.perf_counter()
        left = context.time_remaining()
        if left is not None and left < SHORTEST_TIME:
            # A client on the same machine could still get an answer past its deadline.
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline exceeded.")
        try:
            request = request_class.FromString(data)
            try:
                await rpc(request, response)
            except BaseException:
                # BaseException: a client that hangs up cancels the call.
                abandon(response)
                raise
            before_answer(name)
        except DecodeError:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"The {name} request is malformed."
            )
        except RpcError as error:
            await context.abort(error.code, str(error))
        except StorageError as error:
            logger.error("the changes of Datastore.%s were not stored: %s", name, error)
            await context.abort(grpc.StatusCode.INTERNAL, str(error))
        except Exception:
            logger.exception("Datastore.%s failed", name)
            await context.abort(
                grpc.StatusCode.INTERNAL,
                f"The dev server failed during {name}. Its output has the details.",
            )
        finally:
            took = time.perf_counter() - began
            logger.debug("API call Datastore.%s %.1f ms", name, took * 1e3)
        return response.SerializeToString()

    return handle
