"""Makes the SDK's API calls without HTTP, and most of them without another thread.

The SDK posts each call with urllib3, in a thread of a pool. Both take longer than the
server takes to carry out most calls. Here a call goes over a Unix socket. It is sent
at once, and the thread that waits for the answer reads it. Calls that the app combines,
or waits for in another way, get a thread of the pool as before.

Where the app has changed what takes part in a call, the SDK does everything itself.
"""

from __future__ import annotations

import _thread
import collections
import functools
import socket
import threading
import time
import weakref
from concurrent import futures
from typing import Any

from .connections import Connection, Connections

_LONGEST = 2**16
"""Bytes of a call. Longer ones go over HTTP, where the server limits their memory."""
_ARGUMENTS = {"url", "method", "timeout", "headers", "body"}
_HEADERS = {
    "X-Google-RPC-Service-Deadline",
    "X-Google-RPC-Service-Endpoint",
    "X-Google-RPC-Service-Method",
    "X-Google-DapperTraceInfo",
    "Content-type",
}
_QUICK = 0.005
"""Seconds that the SDK spends with a call before it waits."""
_REST = 5.0
"""Seconds for each further part of an answer that has begun to arrive."""


class Answer:
    """What the SDK reads of an answer to its HTTP request."""

    status = 200
    reason = "OK"

    def __init__(self, data: bytes) -> None:
        """Make an answer with a body."""
        self.data = data


class Sent:
    """A call that was sent, and whose answer nothing has read yet.

    It takes the place of the future of an RPC, and of the body of its HTTP request.
    """

    def __init__(
        self, connection: Connection, options: dict[str, Any], finish: Any
    ) -> None:
        """Keep what makes the HTTP request, and its arguments."""
        self._connection: Connection | None = connection
        self._began = time.monotonic()
        self._timeout = options["timeout"]
        self._finish: Any = functools.partial(finish, **{**options, "body": self})
        self._lock = threading.Lock()
        self._is_finished = False

    def finish(self) -> None:
        """Have the SDK read the answer."""
        with self._lock:
            self._finish_once()

    def look(self) -> bool:
        """Have the SDK read the answer if it is there; return whether it is read."""
        # The SDK looks several times before it waits.
        if self._is_finished or time.monotonic() < self._began + _QUICK:
            return self._is_finished
        # another thread may be reading it
        if self._lock.acquire(False):
            try:
                if self._has_answer():
                    self._finish_once()
            finally:
                self._lock.release()
        return self._is_finished

    def future(self, pool: Any) -> Any:
        """Return a future, for which a thread of a pool reads the answer."""
        if not self._is_finished:
            return pool.submit(self.finish)
        done: futures.Future[None] = futures.Future()
        done.set_result(None)
        return done

    def receive(self) -> bytes:
        """Read the answer."""
        connection, self._connection = self._connection, None
        assert connection is not None
        timeout = self._began + self._timeout - time.monotonic()
        if timeout < _REST and connection.has_answer():
            timeout = _REST  # a program may come late for its beginning
        return connection.receive(max(timeout, 0.001))

    def _finish_once(self) -> None:
        if self._is_finished:
            return
        # it refers to the RPC, which refers to this object
        finish, self._finish = self._finish, None
        try:
            finish()
        finally:
            self._is_finished = True

    def _has_answer(self) -> bool:
        connection = self._connection
        late = time.monotonic() > self._began + self._timeout
        return connection is not None and (late or connection.has_answer())

    def __del__(self) -> None:
        """Close the connection of a call that nothing has waited for."""
        if self._connection is not None:
            self._connection.close()


class Calls:
    """Makes the calls of one process."""

    def __init__(self, module: Any, path: str, url: str) -> None:
        """Call the server over a Unix socket in place of a URL."""
        self._urllib3 = urllib3 = module.urllib3
        self._connections = Connections(path)
        self._sent: collections.deque[weakref.ref[Sent]] = collections.deque(maxlen=100)
        self._url = url
        self._main = threading.main_thread().ident
        pools = urllib3.connectionpool.HTTPConnectionPool
        rpc = module.DefaultApiRPC
        self.pool = urllib3.PoolManager
        """The class of what makes HTTP requests."""
        self._originals = [
            (of, name, getattr(of, name))
            for of, name in (
                (rpc, "_CaptureTrace"),
                (rpc, "_SendRequest"),
                (rpc, "_SendRequestAndFinish"),
                (socket, "socket"),
                (urllib3, "PoolManager"),
                (urllib3.PoolManager, "request"),
                (urllib3.PoolManager, "urlopen"),
                (pools, "urlopen"),
                (pools, "ConnectionCls"),
            )
        ]

    def takes(self, options: dict[str, Any]) -> bool:
        """Return whether these are the arguments of an HTTP request for a call."""
        return (
            options.keys() == _ARGUMENTS
            and options["url"] == self._url
            and options["method"] == "POST"
            and options["headers"].keys() <= _HEADERS
            and isinstance(options["timeout"], (int, float))
            and 0 < options["timeout"] < threading.TIMEOUT_MAX  # urllib3 refuses others
            and isinstance(options["body"], bytes)
            and len(options["body"]) <= _LONGEST
            and all(getattr(of, name) is own for of, name, own in self._originals)
        )

    def begin(self, finish: Any, options: dict[str, Any]) -> Sent | None:
        """Send a call if that takes no time; None: a thread of the pool has to make it.

        `finish` is what the SDK would run in the thread.
        """
        # A signal handler of the app runs in the main thread. What it raises must not
        # reach the SDK's code that makes the request.
        if _thread.get_ident() == self._main or not self.takes(options):
            return None
        connection = self._connections.idle()
        if connection is None:
            self._read_answers()
            connection = self._connections.idle()
        if connection is None:
            return None
        try:
            connection.send(options["body"], options["timeout"])
        except OSError:
            return None
        sent = Sent(connection, options, finish)
        self._sent.append(weakref.ref(sent))
        return sent

    def _read_answers(self) -> None:
        """Free connections of calls that the app may never wait for."""
        for _ in range(len(self._sent)):
            try:
                reference = self._sent.popleft()
            except IndexError:  # another thread does the same
                return
            sent = reference()
            if sent is not None and not sent.look():
                self._sent.append(reference)

    def request(self, http: Any, *args: Any, **options: Any) -> Any:
        """Do what a pool of urllib3 does for the SDK."""
        body: Any = options.get("body")
        is_sent = isinstance(body, Sent)
        if not is_sent and (args or not self.takes(options)):
            return self.pool.request(http, *args, **options)
        errors = self._urllib3.exceptions
        timeout = options["timeout"]
        try:
            if is_sent:
                return Answer(body.receive())
            connection = self._connections.take(timeout)
            if connection is None:
                return self.pool.request(http, **options)
            connection.send(body, timeout)
            return Answer(connection.receive(timeout))
        except socket.timeout:  # noqa: UP041 - for Python 3.9
            text = f"Read timed out. (read timeout={timeout})"
            raise errors.ReadTimeoutError(None, self._url, text) from None
        except OSError as error:
            raise errors.ProtocolError("Connection aborted.", error) from error


def change(module: Any, path: str, url: str) -> None:
    """Change the SDK's `default_api_stub`, which was just imported.

    The calls that it would post to `url` go over the socket at `path`.
    """
    calls = Calls(module, path, url)
    rpc, stub, pool = module.DefaultApiRPC, module.DefaultApiStub, calls.pool
    make_stub, finish = stub.__init__, rpc._SendRequestAndFinish
    user_rpc = module.apiproxy_stub_map.UserRPC
    of_user = user_rpc._UserRPC__internal_callback
    lost = module._DEFAULT_EXCEPTION

    def finish_or_fail(self: Any, **options: Any) -> None:
        try:
            finish(self, **options)
        except BaseException:  # what ends a greenlet; without an error, it succeeds
            self._exception = self._exception or self._ErrorException(*lost)
            raise

    @functools.wraps(make_stub)
    def make(self: Any, *args: Any, **options: Any) -> None:
        make_stub(self, *args, **options)
        http, submit = self.http, self.thread_pool.submit
        if type(http) is not pool:
            return

        def request(*args: Any, **options: Any) -> Any:
            return calls.request(http, *args, **options)

        def submit_or_send(function: Any, *args: Any, **options: Any) -> Any:
            of: Any = getattr(function, "__self__", None)
            if (
                type(of) is rpc
                and function.__func__ is finish
                and vars(of.stub.http).get("request") is request
                # another callback gets its thread
                and (
                    of.callback is None
                    or getattr(of.callback, "__func__", None) is of_user
                )
            ):
                sent = calls.begin(functools.partial(finish_or_fail, of), options)
                if sent is not None:
                    return sent
            return submit(function, *args, **options)

        http.request = request
        self.thread_pool.submit = submit_or_send

    _read_in_waiting_thread(rpc, user_rpc)
    stub.__init__ = make


def _read_in_waiting_thread(rpc: Any, user_rpc: Any) -> None:
    """Have the SDK's classes of RPCs read the answers of calls that were sent."""
    wait, wait_any, state = rpc._WaitImpl, user_rpc.wait_any.__func__, rpc.state.fget

    def sent_of(self: Any) -> Sent | None:
        future = self.__dict__.get("future")
        return future if type(future) is Sent else None

    def get_future(self: Any) -> Any:
        sent = sent_of(self)
        if sent is not None:
            vars(self)["future"] = sent.future(self.stub.thread_pool)
        return vars(self)["future"]

    def set_future(self: Any, future: Any) -> None:
        vars(self)["future"] = future

    @functools.wraps(wait)
    def wait_or_read(self: Any) -> Any:
        sent = sent_of(self)
        if sent is None:
            return wait(self)
        sent.finish()
        return True

    def get_state(self: Any) -> Any:
        sent = sent_of(self)
        if sent is not None:
            sent.look()
        return state(self)

    @functools.wraps(wait_any)
    def wait_any_or_read(cls: Any, rpcs: Any) -> Any:
        # The SDK would wait for the futures. One call alone needs no thread for that.
        if hasattr(rpcs, "__len__") and len(rpcs) == 1:
            only: Any = getattr(next(iter(rpcs)), "_UserRPC__rpc", None)
            if type(only) is rpc and sent_of(only) is not None:
                only.Wait()
        return wait_any(cls, rpcs)

    user_rpc.wait_any = classmethod(wait_any_or_read)
    rpc._WaitImpl = wait_or_read
    rpc.future = property(get_future, set_future)
    rpc.state = property(get_state)
