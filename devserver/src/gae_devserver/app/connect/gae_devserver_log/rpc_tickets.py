"""Sends the ticket of a request with each RPC that the app makes during it.

The server then knows for which request an RPC is made. Clients of Cloud NDB, Datastore
and Cloud Tasks make their channels with grpc, and so does `sitecustomize`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from . import requests

HEADER = "x-devserver-ticket"
_HOSTS = ("DATASTORE_EMULATOR_HOST", "CLOUD_TASKS_EMULATOR_HOST")


def add_tickets(grpc: ModuleType, environ: Mapping[str, str]) -> None:
    """Have `grpc`, which was just imported, make channels that send the ticket.

    Only channels to the dev server do, whose address is in the environment.
    """
    _add(grpc, SyncCall, environ)
    asynchronous = getattr(grpc, "aio", None)  # since grpcio 1.32
    if asynchronous is not None:
        _add(asynchronous, Call, environ)


def ticket() -> str | None:
    """Return the ticket of the request in whose thread or task this is called."""
    # also of one that has ended: the server still knows it
    request = requests.current.get()
    return None if request is None else request.ticket


def _add(module: Any, kind: type[Call], environ: Mapping[str, str]) -> None:
    make = module.insecure_channel
    classes: dict[type, type] = {}

    @functools.wraps(make)
    def insecure_channel(target: str, *args: Any, **options: Any) -> Any:
        channel = make(target, *args, **options)
        if target in [environ.get(name) for name in _HOSTS]:
            own: Any = type(channel)
            if own not in classes:
                classes[own] = _with_tickets(own, kind)
            # The libraries look at the class of a channel and at what is private in it,
            # so a channel around this one is no choice.
            channel.__class__ = classes[own]
        return channel

    module.insecure_channel = insecure_channel


def _with_tickets(channel_class: Any, kind: type[Call]) -> type:
    def unary_unary(self: Any, *args: Any, **options: Any) -> Call:
        return kind(channel_class.unary_unary(self, *args, **options))

    name = channel_class.__name__
    return type(name, (channel_class,), {"unary_unary": unary_unary})


class Call:
    """An RPC of a channel; it is called as a multi-callable of grpc is."""

    __slots__ = ("_call",)

    def __init__(self, call: Any) -> None:
        """Take what the channel has returned."""
        self._call = call

    def __call__(
        self, request: Any, *args: Any, metadata: Any = None, **options: Any
    ) -> Any:
        """Make the RPC."""
        return self._call(request, *args, metadata=_with_ticket(metadata), **options)

    def __getattr__(self, name: str) -> Any:
        """Return what else it has."""
        return getattr(self._call, name)


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
        return self._call(request, timeout, _with_ticket(metadata), *args, **options)

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
        return begin(request, timeout, _with_ticket(metadata), *args, **options)

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
        return make(request, timeout, _with_ticket(metadata), *args, **options)


def _with_ticket(metadata: Any) -> Any:
    of_request = ticket()
    if of_request is None:
        return metadata
    return (*(metadata or ()), (HEADER, of_request))
