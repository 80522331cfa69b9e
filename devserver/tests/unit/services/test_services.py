"""The services: all 14 answer, each where it has to run."""

import asyncio
import io
import socket
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import google.auth
import pytest
import pytest_asyncio
from aiohttp import web
from google.appengine.api import (
    api_base_pb2,
    apiproxy_stub,
    apiproxy_stub_map,
    mail_service_pb2,
    urlfetch_service_pb2,
    user_service_pb2,
)
from google.appengine.api.app_identity import app_identity_service_pb2
from google.appengine.api.blobstore import blobstore_service_pb2
from google.appengine.api.images import images_service_pb2
from google.appengine.api.memcache import memcache_service_pb2
from google.appengine.api.modules import modules_service_pb2
from google.appengine.api.search import search_service_pb2
from google.appengine.datastore import document_pb2
from google.appengine.runtime import apiproxy_errors
from google.auth.exceptions import DefaultCredentialsError
from PIL import Image

from gae_devserver.services import rpc_table
from tests.helpers.calls import HOSTNAME, AppRequest, Server, app_config, reference
from tests.helpers.clock import StoppedClock
from tests.helpers.waiting import settled

pytestmark = pytest.mark.asyncio

SET_UP = "sets up the stub for a test; App Engine has no such call"
LOOK_INTO = "looks into the stub for a test; App Engine has no such call"

NOT_IN_THE_TABLE = {
    "app_identity_service": {"SetDefaultGcsBucketName": SET_UP},
    "blobstore": {"SetBlobStorageType": SET_UP, "StoreBlob": SET_UP},
    "capability_service": {"SetCapabilityStatus": SET_UP},
    "mail": {
        "ClearSentMessages": SET_UP,
        "GetLogMailBody": LOOK_INTO,
        "GetLogMailLevel": LOOK_INTO,
        "GetSentMessages": LOOK_INTO,
        "SetLogMailBody": SET_UP,
        "SetLogMailLevel": SET_UP,
    },
    "memcache": {
        "AdvanceClock": SET_UP,
        "GetLruChainLength": LOOK_INTO,
        "SetClock": SET_UP,
        "SetMaxSize": SET_UP,
    },
    "taskqueue": {
        "DeleteTask": SET_UP,
        "FlushQueue": SET_UP,
        "GetFilteredTasks": LOOK_INTO,
        "GetQueueStateInfo": LOOK_INTO,
        "GetQueues": LOOK_INTO,
        "LoadQueueXml": SET_UP,
        "PatchQueueYamlParser": SET_UP + "; it unpickles what it is sent",
        "SetTaskQueueClock": SET_UP,
        "SetUpStub": SET_UP + "; it unpickles what it is sent",
    },
    "urlfetch": {"SetHttpProxy": SET_UP},
    "user": {"SetOAuthUser": SET_UP},
}


async def code_of(work: Any) -> int:
    """Return the code of the ApplicationError that comes."""
    with pytest.raises(apiproxy_errors.ApplicationError) as error:
        await work
    code: int = error.value.application_error
    return code


# --- all services --------------------------------------------------------------------


@pytest.mark.parametrize("service", rpc_table.services())
async def test_every_method_of_a_stub_is_in_the_table(
    server: Server, service: str
) -> None:
    """Except those that are listed here with the reason; none is there in vain."""
    stub = server.services.stub(service)
    methods = {n.removeprefix("_Dynamic_") for n in dir(stub) if n[:9] == "_Dynamic_"}
    table = set(rpc_table.services()[service])
    assert methods - table == set(NOT_IN_THE_TABLE.get(service, {}))
    assert table <= methods


@pytest.mark.parametrize("service", rpc_table.services())
async def test_every_method_answers_or_refuses(server: Server, service: str) -> None:
    """An empty message gets an answer or an error that the client understands."""
    ticket = server.request().ticket
    for method in rpc_table.services()[service]:
        _, response_class = rpc_table.message_classes(service, method)
        async with asyncio.timeout(30):
            try:
                answer = await server.services.call(service, method, b"", ticket)
            except apiproxy_errors.Error:
                continue
        assert response_class.FromString(answer).IsInitialized(), method


@pytest.mark.parametrize(
    ("service", "method", "words"),
    [
        ("nosuch", "Get", "no service 'nosuch'"),
        ("memcache", "NoSuch", "no method 'NoSuch'"),
        ("taskqueue", "SetUpStub", "no method 'SetUpStub'"),
        ("logservice", "Flush", "no service 'logservice'"),
    ],
)
async def test_an_unknown_call_is_refused(
    server: Server, service: str, method: str, words: str
) -> None:
    """The error says what is unknown."""
    with pytest.raises(apiproxy_errors.CallNotFoundError, match=words):
        await server.services.call(service, method, b"", server.request().ticket)


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\x05abc", b"garbage"])
async def test_a_request_that_is_no_message_is_refused(
    server: Server, data: bytes
) -> None:
    """Bytes that are not what the method takes never reach the stub."""
    with pytest.raises(apiproxy_errors.ArgumentError):
        await server.services.call("taskqueue", "Add", data, server.request().ticket)


async def test_missing_fields_are_named(server: Server) -> None:
    """The error lists the required fields that the request lacks."""
    with pytest.raises(apiproxy_errors.ArgumentError, match="queue_name, task_name"):
        await server.services.call("taskqueue", "Add", b"", server.request().ticket)


# --- clear ---------------------------------------------------------------------------


async def test_clear_forgets_what_every_service_keeps(server: Server) -> None:
    """Entities, tasks, cached values, documents and blobs are gone."""
    api = server.request()
    await api.put(reference("Counter", "x"), 1)
    await api.add("a")
    await cache(api, b"key", b"value")
    await index(api, "1", "some words")
    server.services.stub("blobstore").CreateBlob("blob", b"content")
    server.services.clear()
    assert await api.get(reference("Counter", "x")) is None
    assert await api.tasks() == []
    assert await cached(api, b"key") is None
    assert await search(api, "words") == []
    assert await blob(api, "blob") == b""
    # and the name is free again
    await api.add("a")


# --- memcache ------------------------------------------------------------------------


async def cache(api: AppRequest, key: bytes, value: bytes, expires: int = 0) -> None:
    """Set one value."""
    message = memcache_service_pb2.MemcacheSetRequest()
    message.item.add(key=key, value=value, expiration_time=expires)
    answer = await api.call("memcache", "Set", message)
    assert answer.set_status == [memcache_service_pb2.MemcacheSetResponse.STORED]


async def cached(api: AppRequest, key: bytes) -> bytes | None:
    """Get one value."""
    message = memcache_service_pb2.MemcacheGetRequest(key=[key])
    items = (await api.call("memcache", "Get", message)).item
    return bytes(items[0].value) if items else None


async def test_memcache_expires_by_the_clock(
    api: AppRequest, clock: StoppedClock
) -> None:
    """A value that was set for 60 s is gone when the clock was advanced by 60 s."""
    await cache(api, b"a", b"1", 60)
    await cache(api, b"b", b"2")
    clock.offset = 59.0
    assert await cached(api, b"a") == b"1"
    clock.offset = 60.0
    assert await cached(api, b"a") is None
    assert await cached(api, b"b") == b"2"


async def test_a_moment_of_expiry_is_the_apps_time(
    api: AppRequest, clock: StoppedClock
) -> None:
    """A moment that the app has computed is as far ahead as the app meant it."""
    clock.offset = 3600.0
    await cache(api, b"a", b"1", int(clock.start) + 60)
    clock.offset += 59.0
    assert await cached(api, b"a") == b"1"
    clock.offset += 1.0
    assert await cached(api, b"a") is None


# --- urlfetch ------------------------------------------------------------------------


@pytest_asyncio.fixture
async def serve() -> AsyncIterator[Callable[..., Any]]:
    """Serve a handler from this very loop, as the front does; return the URL."""
    runners: list[web.ServerRunner] = []

    async def start(handler: Callable[[web.BaseRequest], Any]) -> str:
        runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0)
        runners.append(runner)
        await runner.setup()
        sock = socket.create_server(("127.0.0.1", 0))
        await web.SockSite(runner, sock).start()
        return f"http://127.0.0.1:{sock.getsockname()[1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


async def fetch(api: AppRequest, url: str, **fields: Any) -> Any:
    """Fetch a URL."""
    message = urlfetch_service_pb2.URLFetchRequest(
        Method=urlfetch_service_pb2.URLFetchRequest.GET, Url=url, **fields
    )
    return await api.call("urlfetch", "Fetch", message)


async def test_an_app_can_fetch_its_own_url(
    api: AppRequest, serve: Callable[..., Any]
) -> None:
    """A URL that this very loop serves: in the loop the call would wait for itself."""

    async def hello(request: web.BaseRequest) -> web.Response:
        return web.Response(text=f"hello {request.path}")

    url = await serve(hello)
    answer = await fetch(api, f"{url}/own", Deadline=10.0)
    assert (answer.StatusCode, answer.Content) == (200, b"hello /own")


async def test_a_slow_fetch_stalls_nobody(
    api: AppRequest, serve: Callable[..., Any]
) -> None:
    """While some fetches wait, every other call is answered."""
    gate, arrived = asyncio.Event(), asyncio.Semaphore(0)

    async def wait(request: web.BaseRequest) -> web.Response:
        arrived.release()
        await gate.wait()
        return web.Response(text="at last")

    url = await serve(wait)
    fetches = [asyncio.create_task(fetch(api, url, Deadline=10.0)) for _ in range(3)]
    try:
        async with asyncio.timeout(20):
            for _ in fetches:
                await arrived.acquire()
            await api.increment(reference("Counter", "x"))
            await cache(api, b"a", b"1")
        assert not any(task.done() for task in fetches)
    finally:
        gate.set()
    answers = await asyncio.gather(*fetches)
    assert [answer.Content for answer in answers] == [b"at last"] * 3


@pytest.mark.parametrize(
    ("service", "method"),
    [("images", "GetUrlBase"), ("mail", "Send"), ("urlfetch", "Fetch")],
)
async def test_what_takes_long_is_done_in_a_thread(
    server: Server, monkeypatch: pytest.MonkeyPatch, service: str, method: str
) -> None:
    """Of the services, these wait for the network or compute; no other call waits."""
    threads: list[int] = []

    def call(*_: object) -> None:
        threads.append(threading.get_ident())

    monkeypatch.setattr(server.services.stub(service), "MakeSyncCall", call)
    await server.services._ask(service, method, None, None, server.request().ticket)
    assert threads
    assert threading.get_ident() not in threads


async def test_a_fetch_that_fails_says_so(api: AppRequest) -> None:
    """An error in the thread reaches the caller."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    failed = urlfetch_service_pb2.URLFetchServiceError.FETCH_ERROR
    assert await code_of(fetch(api, f"http://127.0.0.1:{port}/")) == failed


# --- images and blobs ----------------------------------------------------------------


def png(width: int, height: int) -> bytes:
    """Make a picture."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(file, "PNG")
    return file.getvalue()


async def resized(api: AppRequest, width: int, **image: Any) -> tuple[int, int]:
    """Resize a picture, and return the size of what comes back."""
    message = images_service_pb2.ImagesTransformRequest(
        image=images_service_pb2.ImageData(**image),
        transform=[images_service_pb2.Transform(width=width)],
        output=images_service_pb2.OutputSettings(),
    )
    answer = await api.call("images", "Transform", message)
    with Image.open(io.BytesIO(answer.image.content)) as picture:
        assert picture.format == "PNG"
        return picture.size


async def test_a_picture_is_transformed(api: AppRequest) -> None:
    """Width 10 of a picture of 40 by 20 makes it 10 by 5."""
    assert await resized(api, 10, content=png(40, 20)) == (10, 5)


async def test_a_picture_out_of_the_blobstore_is_transformed(server: Server) -> None:
    """The thread asks the datastore and the blobstore, which run in the loop."""
    server.services.stub("blobstore").CreateBlob("picture", png(40, 20))
    api = server.request()
    async with asyncio.timeout(30):
        sizes = await asyncio.gather(
            *(resized(api, 10, content=b"", blob_key="picture") for _ in range(8))
        )
    assert sizes == [(10, 5)] * 8


async def test_what_is_no_picture_is_refused(api: AppRequest) -> None:
    """The service's own error reaches the caller."""
    bad = images_service_pb2.ImagesServiceError.BAD_IMAGE_DATA
    assert await code_of(resized(api, 10, content=b"no picture")) == bad


class WhichThread(apiproxy_stub.APIProxyStub):  # type: ignore[misc]
    """A stub that remembers in which thread it was called, and then fails."""

    called_in: int | None = None

    def _Dynamic_Get(self, request: Any, response: Any) -> None:
        self.called_in = threading.get_ident()
        raise apiproxy_errors.ApplicationError(7)


async def test_a_stub_with_state_is_called_in_the_loop_alone(server: Server) -> None:
    """A thread that asks for it waits for the loop, and gets the answer or the error.

    The stubs are not thread-safe.
    """
    stub = WhichThread("memcache")
    server.services._add("memcache", stub)
    request_class, response_class = rpc_table.message_classes("memcache", "Get")

    def ask() -> None:
        assert threading.get_ident() != here
        messages = request_class(), response_class()
        apiproxy_stub_map.MakeSyncCall("memcache", "Get", *messages)

    here = threading.get_ident()
    assert await code_of(asyncio.to_thread(ask)) == 7
    assert stub.called_in == here


async def blob(api: AppRequest, key: str) -> bytes:
    """Fetch a blob."""
    message = blobstore_service_pb2.FetchDataRequest(
        blob_key=key, start_index=0, end_index=100
    )
    try:
        answer = await api.call("blobstore", "FetchData", message)
    except apiproxy_errors.ApplicationError:
        return b""
    return bytes(answer.data)


async def test_a_blob_is_fetched_and_deleted(server: Server) -> None:
    """What was stored comes back, and is gone when it was deleted."""
    server.services.stub("blobstore").CreateBlob("key", b"content")
    api = server.request()
    assert await blob(api, "key") == b"content"
    message = blobstore_service_pb2.DeleteBlobRequest(blob_key=["key"])
    assert await api.call("blobstore", "DeleteBlob", message) == (
        api_base_pb2.VoidProto()
    )
    assert await blob(api, "key") == b""


async def test_the_blobstore_leaves_no_folder_behind(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stub makes one for files with each start, and never deletes it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    server.services.stub("blobstore").CreateBlob("key", b"content")
    assert not list(tmp_path.iterdir())


async def test_an_upload_url_is_on_the_host_of_the_request(server: Server) -> None:
    """As the browser has called the app, so it can post there."""
    api = server.request("http://127.0.0.1:9999/form")
    message = blobstore_service_pb2.CreateUploadURLRequest(success_path="/done")
    answer = await api.call("blobstore", "CreateUploadURL", message)
    assert answer.url.startswith("http://127.0.0.1:9999/_ah/upload/")


# --- search --------------------------------------------------------------------------


async def index(api: AppRequest, name: str, text: str) -> None:
    """Put a document into the index `notes`."""
    document = document_pb2.Document(id=name)
    value = document_pb2.FieldValue(
        type=document_pb2.FieldValue.TEXT, string_value=text
    )
    document.field.add(name="text", value=value)
    message = search_service_pb2.IndexDocumentRequest()
    message.params.index_spec.name = "notes"
    message.params.document.add().CopyFrom(document)
    answer = await api.call("search", "IndexDocument", message)
    assert answer.status[0].code == search_service_pb2.SearchServiceError.OK


async def search(api: AppRequest, query: str) -> list[str]:
    """Return the names of the documents in `notes` that a query finds."""
    message = search_service_pb2.SearchRequest()
    message.params.index_spec.name = "notes"
    message.params.query = query
    answer = await api.call("search", "Search", message)
    return sorted(result.document.id for result in answer.result)


async def test_a_document_is_found(api: AppRequest) -> None:
    """By its words, and not after it was deleted."""
    await index(api, "1", "the quick brown fox")
    await index(api, "2", "the lazy dog")
    assert await search(api, "the") == ["1", "2"]
    assert await search(api, "fox") == ["1"]
    message = search_service_pb2.DeleteDocumentRequest()
    message.params.index_spec.name = "notes"
    message.params.doc_id.append("1")
    await api.call("search", "DeleteDocument", message)
    assert await search(api, "the") == ["2"]


# --- modules, identity, users, mail --------------------------------------------------


async def test_the_modules_api_knows_the_one_service(
    make_server: Callable[..., Server],
) -> None:
    """Its name, its version, and where it answers."""
    server = make_server(config=app_config(service="api"), version="v7")
    api = server.request()

    async def ask(method: str, **fields: Any) -> Any:
        request_class, _ = rpc_table.message_classes("modules", method)
        return await api.call("modules", method, request_class(**fields))

    assert (await ask("GetModules")).module == ["api"]
    assert (await ask("GetVersions")).version == ["v7"]
    assert (await ask("GetVersions", module="api")).version == ["v7"]
    assert (await ask("GetDefaultVersion", module="api")).version == "v7"
    assert (await ask("GetHostname")).hostname == HOSTNAME
    assert (await ask("GetHostname", module="api")).hostname == HOSTNAME
    errors = modules_service_pb2.ModulesServiceError
    assert await code_of(ask("GetVersions", module="x")) == errors.INVALID_MODULE
    assert await code_of(ask("GetHostname", module="x")) == errors.INVALID_MODULE
    version = ask("GetHostname", module="api", version="x")
    assert await code_of(version) == errors.INVALID_MODULE
    instance = ask("GetHostname", module="api", instance="0")
    assert await code_of(instance) == errors.INVALID_INSTANCES
    # as with automatic scaling
    for method in ("GetNumInstances", "StopModule"):
        assert await code_of(ask(method)) == errors.INVALID_VERSION


async def test_app_identity_looks_for_no_credentials(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stub's own factory does, on disk and on the network, for seconds."""
    asked: list[object] = []

    def default(*args: Any, **kwargs: Any) -> Any:
        asked.append(args)
        raise DefaultCredentialsError("none here")  # type: ignore[no-untyped-call]

    monkeypatch.setattr(google.auth, "default", default)
    message = app_identity_service_pb2.SignForAppRequest(bytes_to_sign=b"bytes")
    answer = await server.request().call("app_identity_service", "SignForApp", message)
    assert answer.signature_bytes
    assert asked == []


async def test_a_login_url_comes_back_to_the_app(server: Server) -> None:
    """The users API answers with a URL that has the destination in it."""
    message = user_service_pb2.CreateLoginURLRequest(destination_url="/after")
    answer = await server.request().call("user", "CreateLoginURL", message)
    assert "after" in answer.login_url


async def test_mail_is_logged_and_not_sent(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """A developer sees what would go out."""
    caplog.set_level("INFO")
    message = mail_service_pb2.MailMessage(
        Sender="a@example.com", To=["b@example.com"], Subject="Hello", TextBody="x"
    )
    await server.request().call("mail", "Send", message)
    assert "b@example.com" in caplog.text
    assert "Hello" in caplog.text


async def test_background_requests_are_refused(api: AppRequest) -> None:
    """There is no manual scaling here, which they need."""
    request_class, _ = rpc_table.message_classes("system", "StartBackgroundRequest")
    await code_of(api.call("system", "StartBackgroundRequest", request_class()))


# --- the queues ----------------------------------------------------------------------


async def test_the_stubs_ask_each_other(server: Server) -> None:
    """A commit adds its tasks through the SDK's client, which finds this server."""
    api = server.request()
    transaction = await api.begin()
    name = await api.add(transaction=transaction, now=time.time())
    await api.commit(transaction)
    await settled()
    assert [task.task_name.decode() for task in await api.tasks()] == [name]
