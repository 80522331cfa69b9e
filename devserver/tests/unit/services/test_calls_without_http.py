"""API calls of the SDK over a Unix socket: the client in a program, and the server."""

import asyncio
import contextlib
import os
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from google.appengine.api.api_base_pb2 import StringProto
from google.appengine.ext.remote_api import remote_api_bytes_pb2 as remote_api

import gae_devserver
from gae_devserver.app import call_sockets
from gae_devserver.http.limits import Limits
from gae_devserver.services.call_connection import CallServer
from tests.helpers.waiting import PATIENCE

pytestmark = pytest.mark.asyncio

CONNECT = Path(gae_devserver.__file__).with_name("app") / "connect"
GREETING = b"\1"
LIMITS = Limits(connections=2, small_body=100, body_seconds=0.1)

# What a web server does for an app, and a call with any name.
PROGRAM = """\
import os, threading, time
from google.appengine.api import apiproxy_stub_map
from google.appengine.api.api_base_pb2 import StringProto
from google.appengine.runtime import apiproxy_errors, default_api_stub
import urllib3

stub = default_api_stub.DefaultApiStub()
default_api_stub.Register(stub)

def begin(name, value="", deadline=None, callback=None):
    stub.SetUseRequestSecurityTicketForThread(True)
    rpc = apiproxy_stub_map.UserRPC("test", deadline, callback)
    rpc.make_call(name, StringProto(value=value), StringProto())
    return rpc

def call(*args, **options):
    rpc = begin(*args, **options)
    rpc.check_success()
    return rpc.response.value

def main():
    {}

{}
"""
IN_THREAD = "thread = threading.Thread(target=main); thread.start(); thread.join()"


class Server:
    """Answers calls over a socket and over HTTP, and counts them."""

    def __init__(self, folder: Path) -> None:
        self.over_http = 0
        self.received: list[str] = []
        self.released = asyncio.Event()
        self.folder = folder
        self.calls = CallServer(self.answer)

    async def start(self) -> None:
        """Serve."""
        sockets = call_sockets.CallSockets()
        self.path = self.folder / call_sockets.NAME
        sockets.listen(self.path)
        sockets.attach(self.calls.serve)
        self.runner = web.ServerRunner(web.Server(self.post))
        await self.runner.setup()
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        await web.SockSite(self.runner, listener).start()

    async def stop(self) -> None:
        """Close both sockets."""
        self.calls.stop()
        await self.runner.cleanup()

    async def post(self, request: web.BaseRequest) -> web.Response:
        """Answer a call over HTTP."""
        self.over_http += 1
        return web.Response(body=await self.answer(await request.read()))

    async def answer(self, data: bytes) -> bytes:
        """Do what the name of a call says."""
        call = remote_api.Request.FromString(data)
        self.received.append(call.method)
        response = remote_api.Response(response=call.request)
        if call.method == "wait":
            await self.released.wait()
        elif call.method == "release":
            self.released.set()
        elif call.method == "received":
            text = " ".join(self.received)
            response.response = StringProto(value=text).SerializeToString()
        elif call.method == "fail":
            response.application_error.code = 7
            response.application_error.detail = "no"
        elif call.method == "large":
            large = StringProto(value="a" * 2**22)
            response.response = large.SerializeToString()
        elif call.method == "close":
            self.calls.stop()
        return response.SerializeToString()

    async def run(self, *code: str, main: str = IN_THREAD) -> str:
        """Run code as the app would; return what it prints."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-Wignore::DeprecationWarning",  # since Python 3.12, of a fork with threads
            "-c",
            PROGRAM.format("\n    ".join(code), main),
            env=os.environ
            | {
                "API_HOST": "127.0.0.1",
                "API_PORT": str(self.port),
                "GAE_DEVSERVER_LOG": f"0:{self.folder}/log.sock:{self.folder}",
                "HTTP_X_APPENGINE_API_TICKET": "ticket",
                "PYTHONPATH": str(CONNECT),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(PATIENCE):
            output, _ = await process.communicate()
        return output.decode().strip()


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """A server that answers calls with any name."""
    server = Server(tmp_path)
    await server.start()
    yield server
    await server.stop()


@pytest.mark.parametrize("main", [IN_THREAD, "main()"], ids=["thread", "main thread"])
async def test_calls_need_no_http(server: Server, main: str) -> None:
    """Answers and errors come over the socket."""
    assert await server.run(
        "print(call('echo', 'a'), call('echo', 'b' * 60000) == 'b' * 60000)",
        "try: call('fail')",
        "except apiproxy_errors.ApplicationError as e: print(e.application_error)",
        main=main,
    ) == ("a True\n7")
    assert server.over_http == 0


async def test_a_large_call(server: Server) -> None:
    """It goes over HTTP, where the server limits the memory for such calls."""
    lines = ["call('echo')", "print(len(call('echo', 'a' * 2 ** 19)))"]
    assert await server.run(*lines) == str(2**19)
    assert server.over_http == 1


async def test_calls_in_parallel(server: Server) -> None:
    """One is sent before another is answered; the first that ends is found first."""
    assert await server.run(
        "call('echo')",
        "slow = begin('wait', 'slow')",
        "quick = begin('echo', 'quick', callback=lambda: print('called'))",
        "first = apiproxy_stub_map.UserRPC.wait_any([slow, quick])",
        "print(first is quick, slow.state == 1, call('release') == '')",
        "apiproxy_stub_map.UserRPC.wait_all([slow, quick])",
        "print(slow.response.value, quick.response.value)",
    ) == ("called\nTrue True True\nslow quick")
    assert server.over_http == 0


async def test_a_state_that_is_polled(server: Server) -> None:
    """A call ends also for a program that only looks whether it has."""
    assert await server.run(
        "call('echo')",
        "rpc = begin('echo', 'a')",
        "while rpc.state != 2: time.sleep(0.001)",
        "print(rpc.future.done(), rpc.response.value)",
    ) == ("True a")


async def test_a_call_that_nothing_waits_for(server: Server) -> None:
    """It is carried out, also if the program drops it."""
    assert await server.run(
        "call('echo')",
        "begin('dropped')",
        "while 'dropped' not in call('received'): pass",
        "print('carried out')",
    ) == ("carried out")


async def test_many_calls_that_nothing_waits_for(server: Server) -> None:
    """Their connections carry other calls, also while nothing collects the garbage."""
    assert await server.run(
        "import gc; gc.disable()",
        "call('echo')",
        "for i in range(400): begin('echo', 'dropped'); call('echo')",
        "print(call('echo', 'a'), len(os.listdir('/proc/self/fd')) < 60)",
    ) == ("a True")
    assert server.over_http == 0


async def test_a_deadline(server: Server) -> None:
    """A call that takes longer fails, and the connection is not used again."""
    assert await server.run(
        "call('echo')",
        "try: call('wait', 'late', deadline=0.1)",
        "except apiproxy_errors.DeadlineExceededError: print('deadline')",
        "call('release')",
        "print(call('echo', 'a'))",
    ) == ("deadline\na")


@pytest.mark.parametrize("main", [IN_THREAD, "main()"])
async def test_a_deadline_that_is_refused(server: Server, main: str) -> None:
    """The SDK refuses a negative one when it makes an HTTP request, and here too."""
    assert await server.run(
        "call('echo')",
        "try: call('echo', deadline=-1)",
        "except ValueError as error: print(error)",
        "print(call('echo', 'a'))",
        main=main,
    ) == (
        "Attempted to set connect timeout to 0, but the timeout cannot be set to a "
        "value less than or equal to 0.\na"
    )


async def test_an_answer_that_is_read_late(server: Server) -> None:
    """A program may do something else meanwhile, and for longer than the deadline."""
    assert await server.run(
        "call('echo')",
        "rpcs = [begin('large', deadline=5) for _ in range(20)]",
        "while call('received').count('large') < 20: pass",
        "own = time.monotonic",
        "time.monotonic = lambda: own() + 9",
        "for rpc in rpcs: rpc.check_success()",
        "print(all(len(rpc.response.value) == 2**22 for rpc in rpcs))",
    ) == ("True")


async def test_a_wait_that_is_interrupted(server: Server) -> None:
    """The call fails then, and has no empty answer."""
    assert await server.run(
        "import ctypes",
        "call('echo')",
        "rpc, waiting = begin('wait', 'a'), threading.get_ident()",
        "class Interrupted(BaseException): pass",
        "def interrupt():",
        "    for i in range(9): call('echo')",
        "    error, thread = ctypes.py_object(Interrupted), ctypes.c_ulong(waiting)",
        "    ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, error)",
        "    call('release')",
        "try:",
        "    threading.Thread(target=interrupt).start()",
        "    rpc.wait()",
        "except Interrupted: print('interrupted')",
        "try: rpc.check_success()",
        "except apiproxy_errors.RPCFailedError: print('failed')",
        "print(call('echo', 'a'))",
    ) == ("interrupted\nfailed\na")


async def test_a_call_that_two_threads_wait_for(server: Server) -> None:
    """Both wait until it has ended."""
    assert await server.run(
        "call('echo')",
        "rpc = begin('wait', 'a')",
        "first = threading.Thread(target=rpc.wait)",
        "first.start()",
        "for i in range(9): call('echo')",
        "print(rpc.future.done(), call('release') == '')",
        "first.join()",
        "rpc.future.result()",
        "print(rpc.future.done(), rpc.state == 2, rpc.response.value)",
    ) == ("False True\nTrue True a")


async def test_a_connection_that_ends(server: Server) -> None:
    """The call fails as it does when an HTTP connection ends."""
    assert await server.run(
        "call('echo')",
        "try: call('close')",
        "except apiproxy_errors.RPCFailedError: print('failed')",
    ) == ("failed")


async def test_a_fork(server: Server) -> None:
    """Parent and child never share a connection."""
    assert await server.run(
        "call('echo')",
        "read, write = os.pipe()",
        "if not os.fork():",
        "    # the pool of the first one has no threads here",
        "    default_api_stub.Register(default_api_stub.DefaultApiStub())",
        "    same = all(call('echo', f'c{i}') == f'c{i}' for i in range(300))",
        "    os.write(write, str(same).encode()); os._exit(0)",
        "print(all(call('echo', f'p{i}') == f'p{i}' for i in range(300)))",
        "os.wait(); print(os.read(read, 10).decode())",
    ) == ("True\nTrue")
    assert server.over_http == 0


@pytest.mark.parametrize(
    "change",
    [
        "urllib3.PoolManager.request = note(urllib3.PoolManager.request)",
        "pool.urlopen = note(pool.urlopen)",
        "stub.http = http; http.request = note(http.request)",
        "os.environ['API_HOST'] = 'localhost'; print('own')",
    ],
    ids=["request", "urlopen", "pool", "address"],
)
async def test_what_the_app_changes(server: Server, change: str) -> None:
    """A program that changes how calls are made gets them as without the server."""
    assert await server.run(
        "call('echo')",
        "def note(own):",
        "    def noting(*args, **options):",
        "        print('own')",
        "        return own(*args, **options)",
        "    return noting",
        "http, pool = urllib3.PoolManager(), urllib3.HTTPConnectionPool",
        change,
        "print(call('echo', 'a'))",
    ) == ("own\na")
    assert server.over_http == 1


async def test_a_server_without_the_socket(server: Server) -> None:
    """The calls go over HTTP."""
    server.path.unlink()
    assert await server.run("print(call('echo', 'a'), call('echo', 'b'))") == "a b"
    assert server.over_http == 2


# --- clients that are not the SDK ----------------------------------------------------


@pytest_asyncio.fixture
async def connect(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Connect to a server that returns what it gets."""

    async def answer(call: bytes) -> bytes:
        if call == b"break":
            raise ValueError(call)
        return call

    server = CallServer(answer, LIMITS)
    sockets = call_sockets.CallSockets()
    sockets.attach(server.serve)
    close = sockets.listen(tmp_path / "api.sock")
    yield lambda: asyncio.open_unix_connection(tmp_path / "api.sock")
    close()
    server.stop()


def framed(call: bytes) -> bytes:
    """Return a call as it is sent."""
    return struct.pack("!I", len(call)) + call


async def test_calls_in_pieces(connect: Callable[..., Any]) -> None:
    """A connection carries one call after the other, however their bytes arrive."""
    reader, writer = await connect()
    assert await reader.readexactly(1) == GREETING
    for call in (b"", b"a" * 100):
        for byte in framed(call):
            writer.write(bytes([byte]))
            await writer.drain()
        assert await reader.readexactly(4 + len(call)) == framed(call)
    writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        framed(b"a" * 101),
        framed(b"a") + b"b",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0",
        framed(b"break"),
    ],
    ids=["too long", "two at once", "HTTP", "incomplete", "fails"],
)
async def test_a_wrong_client(connect: Callable[..., Any], sent: bytes) -> None:
    """Its connection is closed; the next one is served."""
    reader, writer = await connect()
    writer.write(sent)
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), PATIENCE) == GREETING
    writer.close()
    await test_calls_in_pieces(connect)


async def test_too_many_connections(connect: Callable[..., Any]) -> None:
    """A connection beyond the limit gets no greeting."""
    held = [await connect() for _ in range(LIMITS.connections)]
    for reader, _ in held:
        assert await reader.readexactly(1) == GREETING
    held.append(await connect())
    assert await held[-1][0].read() == b""
    for _, writer in held:
        writer.close()
