"""The API server, called over HTTP and by the SDK's own client."""

import asyncio
import contextlib
import dataclasses
import functools
import logging
import os
import re
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio
from google.appengine.api import user_service_pb2
from google.appengine.api.memcache import memcache_service_pb2
from google.appengine.api.search import search_service_pb2
from google.appengine.datastore import datastore_pb, datastore_v4_pb2
from google.appengine.ext.remote_api import remote_api_bytes_pb2 as remote_api
from google.appengine.runtime import apiproxy_errors, default_api_stub

from gae_devserver.config.app_yaml import AppConfig
from gae_devserver.config.queue_yaml import QueueConfig
from gae_devserver.http.server import TOKEN_HEADER
from gae_devserver.services import rpc_table
from gae_devserver.services.stubs import StubContext, make_stub
from gae_devserver.storage.storage import StorageError
from tests.helpers.api_port import ApiPort
from tests.helpers.calls import (
    APP_ID,
    BAD_REQUEST,
    HOSTNAME,
    Message,
    Server,
    app_config,
    filled,
)
from tests.helpers.waiting import PATIENCE

pytestmark = pytest.mark.asyncio

CODES = remote_api.RpcError
MEBIBYTE = 2**20
OFF = app_config(app_engine_apis=False)
GET = memcache_service_pb2.MemcacheGetRequest(key=[b"key"])
FLUSH = remote_api.Request(service_name="memcache", method="FlushAll", request=b"")


class Port(ApiPort):
    """An API server, and the client that the SDK uses inside the app."""

    async def stop(self) -> None:
        """Close the port and the client."""
        await super().stop()
        self._client.thread_pool.shutdown()
        self._client.http.clear()

    @functools.cached_property
    def _client(self) -> Any:
        os.environ["API_HOST"] = "127.0.0.1"
        os.environ["API_PORT"] = str(self.number)
        os.environ["HTTP_X_APPENGINE_API_TICKET"] = self.ticket
        return default_api_stub.DefaultApiStub()

    async def call(self, service: str, method: str, message: Message) -> Message:
        """Make a call with the SDK's client; return the response message."""
        _, response_class = rpc_table.message_classes(service, method)
        response = response_class()

        def work() -> None:
            stub = default_api_stub.DefaultApiStub
            stub.SetUseRequestSecurityTicketForThread(True)
            self._client.MakeSyncCall(service, method, message, response)

        await asyncio.to_thread(work)
        return response


class Broken:
    """A stub that raises an error, or lacks one and leaves its answer empty."""

    def __init__(self, error: BaseException | None) -> None:
        self._error = error

    def MakeSyncCall(self, *_: object) -> None:
        """Take a call."""
        if self._error is not None:
            raise self._error


@pytest_asyncio.fixture
async def make_port(
    make_server: Callable[..., Server],
) -> AsyncIterator[Callable[..., Any]]:
    """Start an API server."""
    ports: list[Port] = []

    async def start(
        *queues: QueueConfig,
        configs: Sequence[AppConfig] = (),
        **broken: Any,
    ) -> Port:
        def make(service: str, context: StubContext) -> Any:
            if service in broken:
                return Broken(broken[service])
            return make_stub(service, context)

        server = make_server(*queues, make_stub=make)
        ports.append(Port(server, *configs))
        await ports[-1].start()
        return ports[-1]

    yield start
    for port in ports:
        await port.stop()


@pytest_asyncio.fixture
async def port(make_port: Callable[..., Any]) -> Port:
    """An API server."""
    return await make_port()


def errors_in(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return what was logged as an error."""
    return [r for r in caplog.records if r.levelno >= logging.ERROR]


# --- answers -------------------------------------------------------------------------


async def test_every_method_is_answered(port: Port) -> None:
    """Every method gets an answer or an error, even if its required fields are empty.

    Without either, the client would see an empty success.
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
                    response = response_class.FromString(answer.response)
                    assert response.IsInitialized(), (service, method)


# --- refusals ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", CODES.PARSE_ERROR),
        (b"garbage", CODES.PARSE_ERROR),
        (b"\xff" * 32 * MEBIBYTE, CODES.PARSE_ERROR),
        (b"\xff" * (32 * MEBIBYTE + 1), CODES.REQUEST_TOO_LARGE),
    ],
    ids=["empty", "garbage", "at the limit", "too large"],
)
async def test_what_is_no_call_is_refused(
    port: Port, body: bytes, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The client gets the reason. The server logs no error and continues."""
    answer = await port.post(body)
    assert answer.rpc_error.code == code
    assert not answer.HasField("response")
    assert errors_in(caplog) == []
    await port.call("memcache", "Get", GET)


@pytest.mark.parametrize("data", [b"garbage", b""])
async def test_a_request_that_is_no_message_is_refused(port: Port, data: bytes) -> None:
    """An invalid request never reaches the stub; missing fields are named."""
    answer = await port.ask("taskqueue", "Add", data)
    assert answer.rpc_error.code == CODES.PARSE_ERROR
    if data == b"":
        assert "queue_name, task_name" in answer.rpc_error.detail


@pytest.mark.parametrize(
    ("request_", "gone", "answer"),
    [
        (b"Transfer-Encoding: chunked\r\n\r\nXX\r\n", False, b"HTTP/1.. 400 "),
        (b"Content-Length: 9\r\n\r\nx", True, b"$"),
        (
            b"X-Devserver-Token: \xff\r\nContent-Length: %d\r\n\r\n%s"
            % (len(FLUSH.SerializeToString()), FLUSH.SerializeToString()),
            False,
            b"HTTP/1.. 200 .*X-Devserver-Token",
        ),
    ],
    ids=["broken chunks", "half a body", "a token that is no text"],
)
async def test_a_broken_request_is_no_fault_of_the_server(
    port: Port,
    request_: bytes,
    gone: bool,
    answer: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The client gets the reason, if it is still there, and the log no traceback."""
    head = b"POST /rpc_http HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port.number)
    with contextlib.closing(writer):
        writer.write(head + request_)
        if gone:
            writer.write_eof()
        async with asyncio.timeout(PATIENCE):
            assert re.match(answer, await reader.read(), re.DOTALL)
    assert errors_in(caplog) == []
    await port.call("memcache", "Get", GET)


@pytest.mark.parametrize(
    ("service", "method", "unknown"),
    [
        ("nosuch", "Get", "nosuch"),
        ("logservice", "Flush", "logservice"),
        ("memcache", "get", "get"),
        ("memcache", "", ""),
        # This one is in the stub, and unpickles what it receives.
        ("taskqueue", "SetUpStub", "SetUpStub"),
    ],
)
async def test_an_unknown_call_is_refused(
    port: Port, service: str, method: str, unknown: str
) -> None:
    """The error says whether the service or the method is unknown."""
    answer = await port.ask(service, method)
    assert answer.rpc_error.code == CODES.CALL_NOT_FOUND
    for part in (f"{service}.{method}", repr(unknown), "dev server"):
        assert part in answer.rpc_error.detail


SWITCH = search_service_pb2.FieldSpec(
    expression=[{"name": "a", "expression": "switch(1, 2, 3)"}]
)
MUTATION = datastore_v4_pb2.Mutation(op=datastore_v4_pb2.Mutation.INSERT)


@pytest.mark.parametrize(
    ("service", "method", "message"),
    [
        ("datastore_v4", "Commit", datastore_v4_pb2.CommitRequest(mutation=[MUTATION])),
        (
            "search",
            "Search",
            search_service_pb2.SearchRequest(
                params={"index_spec": {"name": "i"}, "query": "", "field_spec": SWITCH}
            ),
        ),
    ],
    ids=["mutation", "switch"],
)
async def test_what_a_stub_would_ignore_is_refused(
    port: Port,
    service: str,
    method: str,
    message: Message,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The app gets an error that names the call each time, the log one warning."""
    for _ in range(2):
        answer = await port.ask(service, method, message.SerializeToString())
        assert f"{service}.{method}" in answer.rpc_error.detail
        assert "dev server" in answer.rpc_error.detail
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize(
    ("ticket", "token"),
    [
        ({}, None),
        ({"request_id": ""}, None),
        ({"request_id": "unknown"}, None),
        ({}, ""),
        ({}, "0" * 32),
        ({}, "\xe9"),
    ],
)
async def test_a_call_without_a_ticket_or_the_token_is_refused(
    port: Port, ticket: dict[str, str], token: str | None
) -> None:
    """Only a request that the app is handling may make calls, or the token's owner."""
    call = remote_api.Request(**ticket)
    call.MergeFrom(FLUSH)
    answer = await port.post(call.SerializeToString(), token)
    assert answer.rpc_error.code == CODES.UNKNOWN
    assert "memcache.FlushAll" in answer.rpc_error.detail
    if token is not None:
        assert TOKEN_HEADER in answer.rpc_error.detail


async def test_the_ticket_of_a_request_that_has_ended_is_refused(port: Port) -> None:
    """A thread that runs on after its request can make no more API calls."""
    await port.call("memcache", "Get", GET)
    port.server.requests.end(port.ticket)
    with pytest.raises(apiproxy_errors.RPCFailedError, match=r"memcache\.Get"):
        await port.call("memcache", "Get", GET)


# --- the token -----------------------------------------------------------------------


async def test_the_token_replaces_a_ticket(port: Port) -> None:
    """The call is a request of its own, which ends with it and has the app's URL.

    So does its transaction, or others would wait for its locks.
    """

    async def ask(service: str, method: str, message: Message) -> Message:
        data = message.SerializeToString()
        return await port.ask(service, method, data, ticket="", token=port.token)

    login = user_service_pb2.CreateLoginURLRequest(destination_url="/x")
    answer = await ask("user", "CreateLoginURL", login)
    found = user_service_pb2.CreateLoginURLResponse.FromString(answer.response)
    assert found.login_url.endswith(quote(f"http://{HOSTNAME}/x"))
    assert len(port.server.requests) == 1  # the one that the fixture began

    begin = datastore_pb.BeginTransactionRequest(app=APP_ID)
    answer = await ask("datastore_v3", "BeginTransaction", begin)
    transaction = datastore_pb.Transaction.FromString(answer.response)
    answer = await ask("datastore_v3", "Rollback", transaction)
    assert answer.application_error.code == BAD_REQUEST


# --- app_engine_apis -----------------------------------------------------------------


async def test_app_yaml_has_to_enable_the_apis(
    make_port: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Until then each call fails; the client and the log name the setting."""
    port = await make_port(configs=[OFF])
    with pytest.raises(
        apiproxy_errors.FeatureNotEnabledError, match="app_engine_apis: true"
    ):
        await port.call("memcache", "Get", GET)
    (record,) = errors_in(caplog)
    assert "memcache.Get" in record.getMessage()
    assert "app.yaml lacks the setting 'app_engine_apis: true'" in record.getMessage()
    port.api_server.apply([app_config()])
    await port.call("memcache", "Get", GET)


async def test_each_service_has_to_enable_the_apis(
    make_port: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The setting is that of the service whose request makes the call."""
    worker = dataclasses.replace(OFF, service="worker", path=Path("worker.yaml"))
    port = await make_port(configs=[app_config(), worker])
    ticket = port.server.request(service="worker").ticket
    for request, code in ((port.ticket, 0), (ticket, CODES.FEATURE_DISABLED)):
        answer = await port.ask("memcache", "FlushAll", ticket=request)
        assert answer.rpc_error.code == code
    (record,) = errors_in(caplog)
    assert "worker.yaml of the service worker" in record.getMessage()


async def test_a_name_in_the_log_does_nothing_to_a_terminal(
    make_port: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A hostile name cannot start a new log line."""
    port = await make_port(configs=[OFF])
    await port.ask("x\n10:00:00 task 1 200\x1b[2J", "Get")
    (record,) = errors_in(caplog)
    assert r"x\n10:00:00 task 1 200\x1b[2J.Get" in record.getMessage()


# --- errors --------------------------------------------------------------------------


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
    make_port: Callable[..., Any], error_class: type[Exception]
) -> None:
    """The SDK's client raises the class that the stub raised, with its text."""
    port = await make_port(memcache=error_class("it is 100% so, %s and %d"))
    with pytest.raises(error_class) as error:
        await port.call("memcache", "Get", GET)
    assert type(error.value) is error_class
    assert "it is 100% so, %s and %d" in str(error.value)


@pytest.mark.parametrize("detail", ["no such key: 100%", "", None])
async def test_an_application_error_keeps_its_code(
    make_port: Callable[..., Any], detail: str | None
) -> None:
    """Code and text of a service's own error reach the app."""
    port = await make_port(memcache=apiproxy_errors.ApplicationError(7, detail))
    with pytest.raises(apiproxy_errors.ApplicationError) as error:
        await port.call("memcache", "Get", GET)
    assert error.value.application_error == 7
    assert error.value.error_detail == (detail or "")


@pytest.mark.parametrize(
    ("fault", "has_traceback"),
    [
        (RuntimeError("a bug, 100% sure"), True),
        (ValueError(), True),
        (StorageError("the disk is full"), False),
    ],
)
async def test_a_fault_of_the_server_is_never_an_empty_success(
    make_port: Callable[..., Any],
    fault: Exception,
    has_traceback: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The app sees a failed call, the log the reason, and the server continues."""
    port = await make_port(memcache=fault)
    with pytest.raises(apiproxy_errors.RPCFailedError) as error:
        await port.call("memcache", "Get", GET)
    for part in (str(fault) or "ValueError", "memcache.Get"):
        assert part in str(error.value)
    (record,) = errors_in(caplog)
    assert (record.exc_info is not None) is has_traceback
    assert str(fault) in caplog.text
    answer = await port.ask("taskqueue", "FetchQueueStats")
    assert answer.HasField("response")


async def test_an_answer_that_lacks_a_field_is_never_an_empty_success(
    make_port: Callable[..., Any],
) -> None:
    """An answer that cannot be serialized is an error."""
    port = await make_port(datastore_v4=None)
    answer = await port.ask("datastore_v4", "BeginTransaction")
    assert answer.rpc_error.code == CODES.UNKNOWN
    assert not answer.HasField("response")


# --- HTTP ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "host", "status"),
    [
        ("GET", "/rpc_http", None, 405),
        ("HEAD", "/rpc_http", None, 405),
        ("POST", "/", None, 404),
        ("POST", "/rpc_http/", None, 404),
        # A web page can give its own name this address (DNS rebinding).
        ("POST", "/rpc_http", "elsewhere.test", 421),
    ],
)
async def test_other_requests_are_refused(
    port: Port, method: str, path: str, host: str | None, status: int
) -> None:
    """Only POST to /rpc_http on a loopback name is a call."""
    headers = {"Host": host} if host else {}
    async with port.session.request(method, path, headers=headers) as answer:
        assert answer.status == status
        assert answer.headers.get("Allow") == ("POST" if status == 405 else None)
