"""Knows in which request code runs, and wraps apps so that it does."""

from __future__ import annotations

import contextvars
import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

_HEADER = "HTTP_X_APPENGINE_API_TICKET"
_ASGI_HEADER = b"x-appengine-api-ticket"
_WORKERS = "gunicorn.workers."
_ASGI_WORKER = "gunicorn.workers.gasgi"


class Request:
    """A request that the app handles."""

    __slots__ = ("ended", "exceptions", "ticket", "unfinished")

    def __init__(self, ticket: str) -> None:
        """Begin with nothing told."""
        self.ticket = ticket
        self.ended = False
        self.exceptions = 0
        """How many were told."""
        self.unfinished: dict[int, tuple[str, Any]] = {}
        """The line that has no end yet, of each stream, and the record it is of."""


current: contextvars.ContextVar[Request | None] = contextvars.ContextVar(
    "gae_devserver_request", default=None
)


def running() -> Request | None:
    """Return the request in which the calling code runs."""
    request = current.get()
    # a thread that outlives a request may have its context
    return None if request is None or request.ended else request


class Wrapper:
    """Makes apps that tell what happens in their requests."""

    def __init__(
        self,
        tell: Callable[[Request, BaseException], object],
        flush: Callable[[Request], object],
    ) -> None:
        """Tell exceptions; call `flush` before each part of an answer is sent."""
        self.tell = tell
        self.flush = flush

    def gunicorn_app(self, app: Any, application: Any) -> Any:
        """Return what a worker of gunicorn calls in place of an app."""
        try:
            for cls in application.cfg.worker_class.__mro__:
                module = cls.__module__
                if module.startswith("uvicorn") or module == _ASGI_WORKER:
                    return self.asgi(app)
                # not those that are made for the class of an app
                if module.startswith(_WORKERS) and module != _WORKERS + "base":
                    return self.wsgi(app)
        except Exception:  # noqa: BLE001 - gunicorn explains what is wrong
            pass
        return app

    def wsgi(self, app: Any) -> Any:
        """Return a WSGI app that does what `app` does."""
        return WsgiApp(app, self)

    def asgi(self, app: Any) -> Any:
        """Return an ASGI app that does what `app` does; `app` if it is not one."""
        if not (
            inspect.iscoroutinefunction(app)
            or inspect.iscoroutinefunction(getattr(app, "__call__", None))  # noqa: B004
        ):
            return app

        @functools.wraps(app, updated=())
        async def handle(scope: Any, receive: Any, send: Any) -> None:
            request = self._begin_asgi(scope)
            if request is None:
                await app(scope, receive, send)
                return

            async def send_on(message: Any) -> None:
                self._before_sending(request, message)
                await send(message)

            try:
                await app(scope, receive, send_on)
            except BaseException as error:
                self.told(request, error)
                raise
            self.end(request)

        return handle

    def _begin_asgi(self, scope: Any) -> Request | None:
        if scope.get("type") != "http":
            return None
        for name, value in scope.get("headers", ()):
            if name.lower() == _ASGI_HEADER:
                return begin(value.decode("latin-1"))
        current.set(None)
        return None

    def _before_sending(self, request: Request, message: Any) -> None:
        try:
            if message.get("status", 0) >= 500:
                # a framework may raise it again only after it has sent its answer
                self.told(request, sys.exc_info()[1])
            self.flush(request)
        except Exception:  # noqa: BLE001 - the app must go on
            pass

    def told(self, request: Request, error: BaseException | None) -> None:
        """Tell an exception, unless it is how a request ends regularly."""
        try:
            if isinstance(error, (Exception, SystemExit)):
                self.tell(request, error)
            self.flush(request)
        except Exception:  # noqa: BLE001 - the app must go on
            pass

    def end(self, request: Request) -> None:
        """End a request."""
        self.told(request, None)
        request.ended = True
        current.set(None)


def begin(ticket: str) -> Request | None:
    """Begin a request; return None if an outer wrapper has begun it."""
    request = current.get()
    if request is not None and request.ticket == ticket and not request.ended:
        return None
    request = Request(ticket)
    current.set(request)
    return request


class WsgiApp:
    """A WSGI app whose requests are told; it has the attributes of the app itself."""

    def __init__(self, app: Any, wrapper: Wrapper) -> None:
        """Wrap an app."""
        self._app = app
        self._wrapper = wrapper

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the app."""
        return getattr(self._app, name)

    def __call__(self, environ: Any, start_response: Any) -> Any:
        """Answer a request."""
        ticket = environ.get(_HEADER)
        if ticket is None:
            current.set(None)
            return self._app(environ, start_response)
        request = begin(ticket)
        if request is None:
            return self._app(environ, start_response)
        wrapper = self._wrapper

        def start(status: str, *others: Any, **more: Any) -> Any:
            # a framework may handle the exception itself
            if status[:1] == "5":
                given = others[1] if len(others) > 1 else more.get("exc_info")
                wrapper.told(request, (given or sys.exc_info())[1])
            return start_response(status, *others, **more)

        try:
            answer = self._app(environ, start)
        except BaseException as error:
            # what the web server logs about it belongs to this request
            wrapper.told(request, error)
            raise
        file_wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(answer, (list, tuple)) or (
            # the web server sends the file itself
            isinstance(file_wrapper, type) and isinstance(answer, file_wrapper)
        ):
            wrapper.end(request)
            return answer
        wrapper.told(request, None)
        return Body(answer, request, wrapper)


class Body:
    """The parts of an answer, which the app may still make."""

    def __init__(
        self, parts: Iterable[bytes], request: Request, wrapper: Wrapper
    ) -> None:
        """Take what a WSGI app has returned."""
        self._parts = parts
        self._iterator: Iterator[bytes] | None = None
        self._request = request
        self._wrapper = wrapper

    def __iter__(self) -> Iterator[bytes]:
        """Return this object."""
        return self

    def __next__(self) -> bytes:
        """Return the next part; before this, tell what it has printed."""
        try:
            if self._iterator is None:
                self._iterator = iter(self._parts)
            part = next(self._iterator)
        except StopIteration:
            self._wrapper.told(self._request, None)
            raise
        except BaseException as error:
            self._wrapper.told(self._request, error)
            raise
        if self._request.unfinished:
            self._wrapper.told(self._request, None)
        return part

    def close(self) -> None:
        """End the request."""
        close = getattr(self._parts, "close", None)
        try:
            if close is not None:
                close()
        except BaseException as error:
            self._wrapper.told(self._request, error)
            raise
        self._wrapper.end(self._request)
