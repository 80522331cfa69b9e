"""Sends the ticket of a request with each RPC that the app makes during it.

The server then knows for which request an RPC is made. Clients of Cloud NDB, Datastore
and Cloud Tasks make their channels with grpc, and so does `sitecustomize`.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping
from types import ModuleType, SimpleNamespace
from typing import Any

from . import requests

HEADER = "x-devserver-ticket"
_HOSTS = ("DATASTORE_EMULATOR_HOST", "CLOUD_TASKS_EMULATOR_HOST")


def add_tickets(grpc: ModuleType, environ: Mapping[str, str]) -> None:
    """Have `grpc`, which was just imported, make channels that send the ticket.

    Only channels to the dev server do, whose address is in the environment.
    """
    _add(grpc, _sync_call, environ)
    asynchronous = getattr(grpc, "aio", None)  # since grpcio 1.32
    if asynchronous is not None:
        _add(asynchronous, _async_call, environ)


def add_tickets_over_http(module: Any, environ: Mapping[str, str]) -> None:
    """Do so in `google.cloud.datastore._http`, for clients that run without gRPC."""
    own = module._request

    @functools.wraps(own)
    def request(
        http: Any,
        project: Any,
        method: Any,
        data: Any,
        base_url: Any,
        *args: Any,
        **options: Any,
    ) -> Any:
        if base_url == "http://{}".format(environ.get("DATASTORE_EMULATOR_HOST")):
            http = SimpleNamespace(request=functools.partial(_send, http))
        return own(http, project, method, data, base_url, *args, **options)

    module._request = request


def keep_request(pool: Any) -> None:
    """Have a pool of threads know for which request it calls a function.

    Nothing else of the context gets into the threads: the app would work here, and fail
    on App Engine.
    """
    submit = pool.submit

    @functools.wraps(submit)
    def submit_with_request(function: Any, *args: Any, **options: Any) -> Any:
        request = requests.current.get()

        def call() -> Any:
            token = requests.current.set(request)
            try:
                return function(*args, **options)
            finally:
                requests.current.reset(token)

        return submit(call)

    pool.submit = submit_with_request


def ticket() -> str | None:
    """Return the ticket of the request in whose thread or task this is called."""
    # also of one that has ended: the server still knows it
    request = requests.current.get()
    return None if request is None else request.ticket


def _add(
    module: Any, derive_call: Callable[[Any], type], environ: Mapping[str, str]
) -> None:
    make = module.insecure_channel
    change_call = _changing(derive_call)

    def derive_channel(own: Any) -> type:
        def unary_unary(self: Any, *args: Any, **options: Any) -> Any:
            return change_call(own.unary_unary(self, *args, **options))

        return _derived(own, unary_unary=unary_unary)

    change_channel = _changing(derive_channel)

    @functools.wraps(make)
    def insecure_channel(target: str, *args: Any, **options: Any) -> Any:
        channel = make(target, *args, **options)
        if target in [environ.get(name) for name in _HOSTS]:
            change_channel(channel)
        return channel

    module.insecure_channel = insecure_channel


def _changing(derive: Callable[[Any], type]) -> Callable[[Any], Any]:
    """Return a function that gives an object a derived class, if it can have one.

    The libraries look at classes, and at what is private in the objects, so other
    objects around them are no choice.
    """
    classes: dict[type, type] = {}

    def change(instance: Any) -> Any:
        own = type(instance)
        with contextlib.suppress(TypeError):
            if own not in classes:
                classes[own] = derive(own)
            instance.__class__ = classes[own]
        return instance

    return change


def _derived(own: type, **methods: Any) -> type:
    return type(own.__name__, (own,), {"__slots__": (), **methods})


def _sync_call(own: Any) -> type:
    """Derive from a class of RPCs that a thread makes."""

    def adding(name: str) -> Any:
        method = getattr(own, name)

        @functools.wraps(method)
        def call(
            self: Any,
            request: Any,
            timeout: Any = None,
            metadata: Any = None,
            *args: Any,
            **options: Any,
        ) -> Any:
            metadata = _with_ticket(metadata)
            return method(self, request, timeout, metadata, *args, **options)

        return call

    names = ("__call__", "future", "with_call")
    return _derived(own, **{name: adding(name) for name in names})


def _async_call(own: Any) -> type:
    """Derive from a class of RPCs that a task of asyncio makes."""

    @functools.wraps(own.__call__)
    def call(self: Any, request: Any, *, metadata: Any = None, **options: Any) -> Any:
        return own.__call__(self, request, metadata=_with_ticket(metadata), **options)

    return _derived(own, __call__=call)


def _send(http: Any, *, headers: Mapping[str, str], **options: Any) -> Any:
    of_request = ticket()
    if of_request is not None:
        headers = {**headers, HEADER: of_request}
    return http.request(headers=headers, **options)


def _with_ticket(metadata: Any) -> Any:
    of_request = ticket()
    if of_request is None:
        return metadata
    return (*(metadata or ()), (HEADER, of_request))
