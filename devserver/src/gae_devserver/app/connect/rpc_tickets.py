"""Sends the ticket of a request with each RPC that the app makes during it.

The server then knows for which request an RPC is made. Clients of Cloud NDB, Datastore
and Cloud Tasks make their channels with grpc, and so does `sitecustomize`.

It runs on the app's Python, 3.7 or later, and imports nothing else of the package.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from os import environ
from types import ModuleType
from typing import Any

HEADER = "x-devserver-ticket"
_HOSTS = ("DATASTORE_EMULATOR_HOST", "CLOUD_TASKS_EMULATOR_HOST")

FindTicket = Callable[[], "str | None"]
"""Returns the ticket of the request that the calling thread or task handles."""


def add_tickets(grpc: ModuleType, ticket: FindTicket) -> None:
    """Have `grpc`, which was just imported, make channels that send the ticket."""
    _add(grpc, SyncCall, ticket)
    asynchronous = getattr(grpc, "aio", None)  # since grpcio 1.32
    if asynchronous is not None:
        _add(asynchronous, Call, ticket)


def _add(module: Any, kind: type[Call], ticket: FindTicket) -> None:
    make = module.insecure_channel
    classes: dict[type, type] = {}

    @functools.wraps(make)
    def insecure_channel(target: str, *args: Any, **options: Any) -> Any:
        channel = make(target, *args, **options)
        if target in [environ.get(name) for name in _HOSTS]:
            own: Any = type(channel)
            if own not in classes:
                classes[own] = _with_tickets(own, kind, ticket)
            # The libraries look at the class of a channel and at what is private in it,
            # so a channel around this one is no choice.
            channel.__class__ = classes[own]
        return channel

    module.insecure_channel = insecure_channel


def _with_tickets(channel_class: Any, kind: type[Call], ticket: FindTicket) -> type:
    def unary_unary(self: Any, *args: Any, **options: Any) -> Call:
        return kind(channel_class.unary_unary(self, *args, **options), ticket)

    name = channel_class.__name__
    return type(name, (channel_class,), {"unary_unary": unary_unary})


class Call:
    """An RPC of a channel; it is called as a multi-callable of grpc is."""

    __slots__ = ("_call", "_ticket")

    def __init__(self, call: Any, ticket: FindTicket) -> None:
        self._call = call
        self._ticket = ticket

    def __call__(
        self, request: Any, *args: Any, metadata: Any = None, **options: Any
    ) -> Any:
        """Make the RPC."""
        return self._call(request, *args, metadata=self._with(metadata), **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def _with(self, metadata: Any) -> Any:
        ticket = self._ticket()
        if ticket is None:
            return metadata
        return (*(metadata or ()), (HEADER, ticket))


class SyncCall(Call):
    """An RPC of a thread; the metadata may be the third argument without a name."""

    __slots__ = ()

    def __call__(
        self,
        request: Any,
        timeout: Any = None,
        metadata: Any = None,
        *args: Any,
        **options: Any,
    ) -> Any:
        """Make the RPC, and wait for its answer."""
        return self._call(request, timeout, self._with(metadata), *args, **options)

    def future(
        self,
        request: Any,
        timeout: Any = None,
        metadata: Any = None,
        *args: Any,
        **options: Any,
    ) -> Any:
        """Begin the RPC."""
        begin = self._call.future
        return begin(request, timeout, self._with(metadata), *args, **options)

    def with_call(
        self,
        request: Any,
        timeout: Any = None,
        metadata: Any = None,
        *args: Any,
        **options: Any,
    ) -> Any:
        """Make the RPC; return its answer and the call."""
        make = self._call.with_call
        return make(request, timeout, self._with(metadata), *args, **options)
