"""The port for API calls, asked over HTTP and by the SDK's own client."""

import asyncio
import contextlib
import io
import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import pytest_asyncio
from google.appengine.api import apiproxy_stub, user_service_pb2
from google.appengine.api.memcache import memcache_service_pb2
from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as taskqueue_pb
from google.appengine.datastore import datastore_pb
from google.appengine.ext.remote_api import remote_api_bytes_pb2 as remote_api
from google.appengine.runtime import apiproxy_errors, default_api_stub

from gae_devserver.config.queue_yaml import QueueConfig
from gae_devserver.http.server import TOKEN_HEADER
from gae_devserver.services import rpc_table
from gae_devserver.services.api_server import ApiServer
from gae_devserver.storage.storage import StorageError
from tests.helpers.calls import (
    APP_ID,
    HOSTNAME,
    PULL,
    TASK_ERRORS,
    Message,
    Server,
    add_request,
    reference,
)

pytestmark = pytest.mark.asyncio

CODES = remote_api.RpcError
MEBIBYTE = 2**20
PATIENCE = 20.0
"""Seconds that an answer may take on a loaded machine."""


class Port:
    """An API server on a port of its own, and ways to ask it."""

    def __init__(self, server: Server, app_engine_apis: bool) -> None:
        self.server = server
        self.token = secrets.token_hex(16)
        self._api_server = ApiServer(
            server.services.call, server.requests, app_engine_apis, self.token
        )
        self.ticket = server.request().ticket
        self._client = default_api_stub.DefaultApiStub()

    async def start(self) -> None:
        """Serve."""
        sock = socket.create_server(("127.0.0.1", 0))
        self.number = sock.getsockname()[1]
        self.session = aiohttp.ClientSession(f"http://127.0.0.1:{self.number}")
        await self._api_server.start(sock)

    async def stop(self) -> None:
        """Close the port and the client."""
        await self.session.close()
        self._client.thread_pool.shutdown()
        self._client.http.clear()
        await self._api_server.stop()

    async def post(self, body: bytes, token: str | None = None) -> Message:
        """Send bytes; return the Response message."""
        # aiohttp warns of large bodies that are not files
        data = io.BytesIO(body)
        headers = {} if token is None else {TOKEN_HEADER: token}
        async with self.session.post("/rpc_http", data=data, headers=headers) as answer:
            assert answer.status == 200
            assert answer.content_type == "application/octet-stream"
            return remote_api.Response.FromString(await answer.read())

    async def ask(
        self,
        service: str,
        method: str,
        data: bytes = b"",
        ticket: str | None = None,
        token: str | None = None,
    ) -> Message:
        """Make a call; return the Response message."""
        message = remote_api.Request(
            service_name=service,
            method=method,
            request=data,
            request_id=self.ticket if ticket is None else ticket,
        )
        return await self.post(message.SerializeToString(), token)

    async def call(self, service: str, method: str, message: Message) -> Message:
        """Make a call with the client that the SDK uses inside the app."""
        _, response_class = rpc_table.message_classes(service, method)
        response = response_class()

        def work() -> None:
            stub = default_api_stub.DefaultApiStub
            stub.SetUseRequestSecurityTicketForThread(True)
            self._client.MakeSyncCall(service, method, message, response)

        os.environ["API_HOST"] = "127.0.0.1"
        os.environ["API_PORT"] = str(self.number)
        os.environ["HTTP_X_APPENGINE_API_TICKET"] = self.ticket
        await asyncio.to_thread(work)
        return response


@pytest_asyncio.fixture
async def make_port(
    make_server: Callable[..., Server],
) -> AsyncIterator[Callable[..., Any]]:
    """Start an API server."""
    ports: list[Port] = []

    async def make(*queues: QueueConfig, app_engine_apis: bool = True) -> Port:
        ports.append(Port(make_server(*queues), app_engine_apis))
        await ports[-1].start()
        return ports[-1]

    yield make
    for port in ports:
        await port.stop()


@pytest_asyncio.fixture
async def port(make_port: Callable[..., Any]) -> Port:
    """An API server."""
    made: Port = await make_port()
    return made


class Broken(apiproxy_stub.APIProxyStub):  # type: ignore[misc]
    """A stub whose one method raises what it is told to."""

    def __init__(self, service: str, error: BaseException) -> None:
        super().__init__(service)
        self._error = error

    def _Dynamic_Get(self, request: Message, response: Message) -> None:
        raise self._error


class Incomplete(apiproxy_stub.APIProxyStub):  # type: ignore[misc]
    """A stub that forgets the required field of its answer."""

    def _Dynamic_BeginTransaction(self, request: Message, response: Message) -> None:
        response.Clear()


def break_memcache(port: Port, error: BaseException) -> None:
    """Make `memcache.Get` raise."""
    port.server.services._add("memcache", Broken("memcache", error))


GET = memcache_service_pb2.MemcacheGetRequest(key=[b"key"])


# --- answers -------------------------------------------------------------------------


async def test_a_call_of_the_sdk_is_answered(port: Port) -> None:
    """The SDK's client stores a value and reads it back."""
    message = memcache_service_pb2.MemcacheSetRequest()
    message.item.add(key=b"key", value=b"value")
    await port.call("memcache", "Set", message)
    answer = await port.call("memcache", "Get", GET)
    assert [item.value for item in answer.item] == [b"value"]


async def test_calls_that_wait_do_not_stall_others(port: Port) -> None:
    """While one request waits for a lock, another one is answered, over HTTP too."""
    one, two = port.server.request(), port.server.request()
    key = reference("Counter", "x")
    first = await one.begin()
    await one.put(key, 1, first)
    incrementing = asyncio.create_task(two.increment(key))
    answer = await port.call("memcache", "Get", GET)
    assert len(answer.item) == 0
    assert not incrementing.done()
    await one.commit(first)
    await incrementing
    assert await one.get(key) == 2


async def test_every_method_is_answered(port: Port) -> None:
    """Each gets an answer or an error, also with its required fields all empty.

    Never neither: the client would take that for an empty success.
    """
    for service, methods in rpc_table.services().items():
        for method in methods:
            request_class, response_class = rpc_table.message_classes(service, method)
            for request in (request_class(), filled(request_class())):
                data = request.SerializePartialToString()
                async with asyncio.timeout(30):
                    answer = await port.ask(service, method, data)
                if answer.HasField("rpc_error"):
                    assert answer.rpc_error.detail, (service, method)
                elif not answer.HasField("application_error"):
                    assert answer.HasField("response"), (service, method)
                    response_class.FromString(answer.response)


def filled(message: Message) -> Message:
    """Set the required fields of a message to zero or empty."""
    for field in message.DESCRIPTOR.fields:
        if not field.is_required:
            continue
        if field.message_type is not None:
            getattr(message, field.name).SetInParent()
            filled(getattr(message, field.name))
        elif field.enum_type is not None:
            setattr(message, field.name, field.enum_type.values[0].number)
        else:
            setattr(message, field.name, getattr(message, field.name))
    return message


@pytest.mark.parametrize("size", [MEBIBYTE, 8 * MEBIBYTE, 31 * MEBIBYTE])
async def test_large_calls_pass(make_port: Callable[..., Any], size: int) -> None:
    """From a mebibyte, where aiohttp stops by default, to almost 32 of them."""
    port = await make_port(QueueConfig("pull", mode="pull"))
    body = b"x" * (MEBIBYTE - 2000)
    bulk = taskqueue_pb.TaskQueueBulkAddRequest()
    while bulk.ByteSize() < size:
        bulk.add_request.add().CopyFrom(add_request(queue="pull", mode=PULL, body=body))
    answer = await port.ask("taskqueue", "BulkAdd", bulk.SerializeToString())
    assert not answer.HasField("rpc_error"), answer.rpc_error
    results = taskqueue_pb.TaskQueueBulkAddResponse.FromString(answer.response)
    assert {result.result for result in results.taskresult} == {TASK_ERRORS.OK}
    assert len(results.taskresult) == len(bulk.add_request)


async def test_a_body_of_32_mebibytes_is_read(port: Port) -> None:
    """To the last byte; the stub then says that memcache takes less."""
    envelope = remote_api.Request(
        service_name="memcache", method="Get", request=b"", request_id=port.ticket
    )
    room = 32 * MEBIBYTE - envelope.ByteSize() - 10
    key = memcache_service_pb2.MemcacheGetRequest(key=[b"x" * room])
    answer = await port.ask("memcache", "Get", key.SerializeToString()[:room])
    assert answer.rpc_error.code in {CODES.REQUEST_TOO_LARGE, CODES.PARSE_ERROR}
    assert "in the request" not in answer.rpc_error.detail


async def test_more_than_32_mebibytes_are_too_large(
    port: Port, caplog: pytest.LogCaptureFixture
) -> None:
    """The client learns why; it is no fault of the server, and it goes on."""
    data = b"x" * (32 * MEBIBYTE + 1)
    answer = await port.ask("memcache", "Get", data)
    assert answer.rpc_error.code == CODES.REQUEST_TOO_LARGE
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []
    await port.call("memcache", "Get", GET)


async def test_a_body_that_breaks_is_no_fault_of_the_server(
    port: Port, caplog: pytest.LogCaptureFixture
) -> None:
    """Who sends it gets 400, or has gone; nobody gets a traceback."""
    head = b"POST /rpc_http HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    for rest, goes, status in (
        (b"Transfer-Encoding: chunked\r\n\r\nXX\r\n", False, [b"400"]),
        (b"Content-Length: 9\r\n\r\nx", True, []),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port.number)
        async with asyncio.timeout(PATIENCE):
            with contextlib.closing(writer):
                writer.write(head + rest)
                if goes:
                    writer.write_eof()
                assert (await reader.read()).split()[1:2] == status
    await port.call("memcache", "Get", GET)
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


# --- refusals ------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"garbage", b"\xff" * 1000, b"\x12\x05abc"])
async def test_garbage_is_refused(port: Port, body: bytes) -> None:
    """What is no call gets a parse error, and the server goes on."""
    answer = await port.post(body)
    assert answer.rpc_error.code == CODES.PARSE_ERROR
    assert not answer.HasField("response")
    await port.call("memcache", "Get", GET)


@pytest.mark.parametrize("ticket", ["unknown", "", "0" * 32])
async def test_an_unknown_ticket_is_refused(port: Port, ticket: str) -> None:
    """Only a request that the app is handling may call."""
    answer = await port.ask("memcache", "FlushAll", ticket=ticket)
    assert answer.rpc_error.code == CODES.UNKNOWN
    assert "memcache.FlushAll was made outside of a request" in answer.rpc_error.detail


async def test_a_call_without_a_ticket_is_refused(port: Port) -> None:
    """The field is optional in the protocol, not here."""
    message = remote_api.Request(service_name="memcache", method="Get", request=b"")
    answer = await port.post(message.SerializeToString())
    assert "outside of a request" in answer.rpc_error.detail


async def test_the_ticket_of_a_request_that_has_ended_is_refused(port: Port) -> None:
    """A thread that goes on after its request has no more API calls."""
    await port.call("memcache", "Get", GET)
    port.server.requests.end(port.ticket)
    with pytest.raises(apiproxy_errors.RPCFailedError, match=r"memcache\.Get"):
        await port.call("memcache", "Get", GET)


@pytest.mark.parametrize("ticket", ["", "0" * 32])
async def test_the_token_stands_for_a_ticket(port: Port, ticket: str) -> None:
    """Who has what the server printed may call without a request of the app."""
    data = GET.SerializeToString()
    answer = await port.ask("memcache", "Get", data, ticket=ticket, token=port.token)
    assert answer.HasField("response")
    assert len(port.server.requests) == 1  # the one that the fixture has begun


@pytest.mark.parametrize("token", ["", "0" * 32, "\xe9"])
async def test_a_wrong_token_is_refused(port: Port, token: str) -> None:
    """It is no better than none, and the answer says which one would do."""
    data = GET.SerializeToString()
    answer = await port.ask("memcache", "Get", data, ticket="", token=token)
    assert "memcache.Get" in answer.rpc_error.detail
    assert TOKEN_HEADER in answer.rpc_error.detail


async def test_bytes_that_are_no_text_are_no_token(
    port: Port, caplog: pytest.LogCaptureFixture
) -> None:
    """They are refused like any other, without a fault of the server."""
    call = remote_api.Request(
        service_name="memcache", method="Get", request=GET.SerializeToString()
    )
    body = call.SerializeToString()
    head = (
        "POST /rpc_http HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n{TOKEN_HEADER}: "
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port.number)
    writer.write(head.encode() + b"\xff\r\n\r\n" + body)
    answer = await reader.read()
    writer.close()
    response = remote_api.Response.FromString(answer.partition(b"\r\n\r\n")[2])
    assert TOKEN_HEADER in response.rpc_error.detail
    assert "Traceback" not in caplog.text


async def test_a_call_with_the_token_has_the_url_of_the_app(port: Port) -> None:
    """Not that of this port, where no user could go."""
    login = user_service_pb2.CreateLoginURLRequest(destination_url="/x")
    data = login.SerializeToString()
    answer = await port.ask("user", "CreateLoginURL", data, ticket="", token=port.token)
    found = user_service_pb2.CreateLoginURLResponse.FromString(answer.response)
    assert found.login_url.endswith(quote(f"http://{HOSTNAME}/x"))


async def test_a_transaction_of_a_call_with_the_token_ends_with_it(port: Port) -> None:
    """Nobody else would end it; others would wait for its locks."""
    begin = datastore_pb.BeginTransactionRequest(app=APP_ID).SerializeToString()
    answer = await port.ask(
        "datastore_v3", "BeginTransaction", begin, ticket="", token=port.token
    )
    assert answer.HasField("response")
    assert not port.server.services.datastore.stub._txn_map


async def test_app_yaml_has_to_enable_the_apis(
    make_port: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Without the setting each call fails; client and log name the setting."""
    port = await make_port(app_engine_apis=False)
    with pytest.raises(apiproxy_errors.FeatureNotEnabledError) as error:
        await port.call("memcache", "Get", GET)
    assert "app_engine_apis: true" in str(error.value)
    (record,) = [r for r in caplog.records if r.name == "gae_devserver"]
    assert record.levelno == logging.ERROR
    assert "memcache.Get" in record.getMessage()
    assert "app_engine_apis: true" in record.getMessage()


async def test_a_name_in_the_log_does_nothing_to_a_terminal(
    make_port: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does it look like a line of its own."""
    port = await make_port(app_engine_apis=False)
    await port.ask("x\n10:00:00 task 1 200\x1b[2J", "Get")
    (record,) = [r for r in caplog.records if r.name == "gae_devserver"]
    assert record.getMessage().startswith(r"x\n10:00:00 task 1 200\x1b[2J.Get was ")


@pytest.mark.parametrize(
    ("service", "method"), [("nosuch", "Get"), ("memcache", "NoSuch")]
)
async def test_an_unknown_call_is_an_error_in_the_client(
    port: Port, service: str, method: str
) -> None:
    """The error says what is unknown."""
    answer = await port.ask(service, method)
    assert answer.rpc_error.code == CODES.CALL_NOT_FOUND
    assert repr(service if service == "nosuch" else method) in answer.rpc_error.detail


@pytest.mark.parametrize(
    "error_class",
    [
        apiproxy_errors.ArgumentError,
        apiproxy_errors.CallNotFoundError,
        apiproxy_errors.CancelledError,
        apiproxy_errors.CapabilityDisabledError,
        apiproxy_errors.DeadlineExceededError,
        apiproxy_errors.FeatureNotEnabledError,
        apiproxy_errors.OverQuotaError,
        apiproxy_errors.RequestTooLargeError,
        apiproxy_errors.ResponseTooLargeError,
        apiproxy_errors.RPCFailedError,
    ],
)
async def test_an_error_of_a_stub_is_the_same_error_in_the_app(
    port: Port, error_class: type[Exception]
) -> None:
    """The SDK's client raises the class that the stub has raised, with its words."""
    break_memcache(port, error_class("it is 100% so, %s and %d"))
    with pytest.raises(error_class) as error:
        await port.call("memcache", "Get", GET)
    assert type(error.value) is error_class
    assert "it is 100% so, %s and %d" in str(error.value)


@pytest.mark.parametrize("detail", ["no such key: 100%", "", None])
async def test_an_application_error_keeps_its_code(
    port: Port, detail: str | None
) -> None:
    """Code and words of a service's own error reach the app."""
    break_memcache(port, apiproxy_errors.ApplicationError(7, detail))
    with pytest.raises(apiproxy_errors.ApplicationError) as error:
        await port.call("memcache", "Get", GET)
    assert error.value.application_error == 7
    assert error.value.error_detail == (detail or "")


@pytest.mark.parametrize(
    "fault", [RuntimeError("a bug, 100% sure"), KeyError("x"), ValueError()]
)
async def test_a_fault_of_the_server_is_never_an_empty_success(
    port: Port, fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """The app sees a failed call, the log the traceback, and the server goes on."""
    break_memcache(port, fault)
    with pytest.raises(apiproxy_errors.RPCFailedError):
        await port.call("memcache", "Get", GET)
    (record,) = [r for r in caplog.records if r.name == "gae_devserver"]
    assert record.exc_info is not None
    assert record.exc_info[1] is fault
    answer = await port.ask("taskqueue", "FetchQueueStats")
    assert answer.HasField("response")


async def test_what_was_not_stored_is_an_error(
    port: Port, caplog: pytest.LogCaptureFixture
) -> None:
    """On a full disk, for example, the call fails; the log has a line that names it."""
    break_memcache(port, StorageError("the file cannot be written"))
    with pytest.raises(apiproxy_errors.RPCFailedError, match="file cannot be written"):
        await port.call("memcache", "Get", GET)
    (record,) = [r for r in caplog.records if r.name == "gae_devserver"]
    assert record.exc_info is None
    assert record.getMessage().endswith(": the file cannot be written")


async def test_an_answer_that_lacks_a_field_is_never_an_empty_success(
    port: Port,
) -> None:
    """What cannot be written as a message is an error, too."""
    port.server.services._add("datastore_v4", Incomplete("datastore_v4"))
    answer = await port.ask("datastore_v4", "BeginTransaction")
    assert answer.rpc_error.code == CODES.UNKNOWN
    assert not answer.HasField("response")


# --- HTTP ----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
async def test_other_methods_are_refused(port: Port, method: str) -> None:
    """405, and what is allowed instead."""
    async with port.session.request(method, "/rpc_http") as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "POST"


@pytest.mark.parametrize("path", ["/", "/rpc_http/", "/other", "/RPC_HTTP"])
async def test_other_paths_are_not_found(port: Port, path: str) -> None:
    """404 with a hint."""
    async with port.session.post(path, data=b"") as answer:
        assert answer.status == 404
        assert "/rpc_http" in await answer.text()


async def test_a_call_for_another_host_is_refused(port: Port) -> None:
    """A web page that gives its name this address (DNS rebinding) gets 421."""
    headers = {"Host": "elsewhere.test"}
    async with port.session.post("/rpc_http", data=b"", headers=headers) as answer:
        assert answer.status == 421
