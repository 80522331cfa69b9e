"""The services: all 14 answer, each where it has to run."""

import asyncio
import io
import os
import tempfile
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import google.auth
import pytest
import pytest_asyncio
from google.appengine.api import apiproxy_stub_map
from google.appengine.api.app_identity import app_identity_service_pb2
from google.appengine.api.blobstore import blobstore_service_pb2
from google.appengine.api.images import images_service_pb2
from google.appengine.api.memcache import memcache_service_pb2
from google.appengine.api.modules import modules_service_pb2
from google.appengine.api.search import search_service_pb2
from google.appengine.api.system import system_service_pb2
from google.appengine.runtime import apiproxy_errors
from google.auth.exceptions import DefaultCredentialsError
from PIL import Image

from gae_devserver.services import rpc_table
from gae_devserver.services.request_info import RunningService
from tests.helpers.calls import (
    AppRequest,
    Server,
    code_of,
    filled,
)
from tests.helpers.clock import StoppedClock

pytestmark = pytest.mark.asyncio

# Methods that set up or inspect a stub for a test: App Engine has no such calls.
# PatchQueueYamlParser and SetUpStub even unpickle what they receive. The task queue's
# stub calls AddActions itself, after it has checked the tasks.
NOT_IN_THE_TABLE = {
    "app_identity_service": "SetDefaultGcsBucketName",
    "blobstore": "SetBlobStorageType StoreBlob",
    "capability_service": "SetCapabilityStatus",
    "datastore_v3": "AddActions",
    "mail": "ClearSentMessages GetLogMailBody GetLogMailLevel GetSentMessages"
    " SetLogMailBody SetLogMailLevel",
    "memcache": "AdvanceClock GetLruChainLength SetClock SetMaxSize",
    "taskqueue": "DeleteTask FlushQueue GetFilteredTasks GetQueueStateInfo GetQueues"
    " LoadQueueXml PatchQueueYamlParser SetTaskQueueClock SetUpStub",
    "urlfetch": "SetHttpProxy",
    "user": "SetOAuthUser",
}


# --- all services --------------------------------------------------------------------


async def test_the_table_has_exactly_the_calls_of_app_engine(server: Server) -> None:
    """Every service, and every method of its stub that is not there for tests."""
    assert len(rpc_table.services()) == 14
    for service, methods in rpc_table.services().items():
        stub = server.services.stub(service)
        found = {n.removeprefix("_Dynamic_") for n in dir(stub) if n[:9] == "_Dynamic_"}
        left_out = NOT_IN_THE_TABLE.get(service, "").split()
        assert found == {*methods, *left_out}, service
        assert not set(methods) & set(left_out), service
    with pytest.raises(KeyError):
        server.services.stub("nosuch")


class WhichThread:
    """A stub that remembers the thread of a call, and then fails with code 7."""

    thread = 0

    def MakeSyncCall(self, *_: object) -> None:
        """Take a call."""
        self.thread = threading.get_ident()
        raise apiproxy_errors.ApplicationError(7)


@pytest.mark.parametrize(
    ("service", "method"),
    [("images", "GetUrlBase"), ("mail", "Send"), ("urlfetch", "Fetch")],
)
async def test_what_takes_long_is_done_in_a_thread(
    make_server: Callable[..., Server], service: str, method: str
) -> None:
    """No other call waits for a service that uses the network or computes."""
    stub = WhichThread()
    api = make_server(make_stub=lambda *_: stub).request()
    request_class, _ = rpc_table.message_classes(service, method)
    assert await code_of(api.call(service, method, filled(request_class()))) == 7
    assert stub.thread not in {0, threading.get_ident()}


async def test_a_stub_with_state_is_called_in_the_loop_alone(
    make_server: Callable[..., Server],
) -> None:
    """The SDK's client, called in a thread, waits for the loop and gets its error."""
    stub = WhichThread()
    make_server(make_stub=lambda *_: stub)
    messages = (memcache_service_pb2.MemcacheGetRequest(key=[b"key"]), None)
    ask = apiproxy_stub_map.MakeSyncCall
    assert await code_of(asyncio.to_thread(ask, "memcache", "Get", *messages)) == 7
    assert stub.thread == threading.get_ident()


async def test_clear_forgets_what_every_service_keeps(server: Server) -> None:
    """Services other than the datastore and the task queue start anew."""
    api = server.request()
    others = rpc_table.services().keys() - {"datastore_v3", "taskqueue"}
    stubs = {service: server.services.stub(service) for service in others}
    stubs["blobstore"].CreateBlob("blob", b"content")
    fetch = blobstore_service_pb2.FetchDataRequest(
        blob_key="blob", start_index=0, end_index=100
    )
    answer = await api.call("blobstore", "FetchData", fetch)
    assert answer.data == b"content"

    server.services.clear()

    assert not [name for name in others if server.services.stub(name) is stubs[name]]
    not_found = blobstore_service_pb2.BlobstoreServiceError.BLOB_NOT_FOUND
    assert await code_of(api.call("blobstore", "FetchData", fetch)) == not_found


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
    return items[0].value if items else None


@pytest.mark.parametrize("is_moment", [False, True])
async def test_memcache_expires_by_the_clock(
    api: AppRequest, clock: StoppedClock, is_moment: bool
) -> None:
    """An expiration is a duration, or a moment that the app computed by real time."""
    clock.offset = 3600.0
    await cache(api, b"a", b"1", int(clock.start) * is_moment + 60)
    await cache(api, b"b", b"2")
    clock.offset += 59.0
    assert await cached(api, b"a") == b"1"
    clock.offset += 1.0
    assert await cached(api, b"a") is None
    assert await cached(api, b"b") == b"2"


# --- images and blobs ----------------------------------------------------------------


async def resized(api: AppRequest, **image: Any) -> tuple[int, int]:
    """Resize a picture to a width of 10, and return the size of what comes back."""
    message = images_service_pb2.ImagesTransformRequest(
        image=images_service_pb2.ImageData(**image),
        transform=[images_service_pb2.Transform(width=10)],
        output=images_service_pb2.OutputSettings(),
    )
    answer = await api.call("images", "Transform", message)
    with Image.open(io.BytesIO(answer.image.content)) as picture:
        assert picture.format == "PNG"
        return picture.size


async def test_a_picture_is_transformed(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """A picture may be in the blobstore, which the thread asks in the loop."""
    api, file = server.request(), io.BytesIO()
    Image.new("RGB", (40, 20), "red").save(file, "PNG")
    picture = file.getvalue()
    assert await resized(api, content=picture) == (10, 5)
    bad = images_service_pb2.ImagesServiceError.BAD_IMAGE_DATA
    assert await code_of(resized(api, content=b"no picture")) == bad
    Image.new("1", (9000, 9000)).save(large := io.BytesIO(), "PNG")
    too_large = images_service_pb2.ImagesServiceError.IMAGE_TOO_LARGE
    assert await code_of(resized(api, content=large.getvalue())) == too_large
    server.services.stub("blobstore").CreateBlob("text", b"no picture")
    assert await code_of(resized(api, content=b"", blob_key="text")) == bad
    unspecified = images_service_pb2.ImagesServiceError.UNSPECIFIED_ERROR
    assert await code_of(resized(api, content=b"", blob_key="none")) == unspecified
    assert not caplog.records
    server.services.stub("blobstore").CreateBlob("picture", picture)
    async with asyncio.timeout(30):
        sizes = await asyncio.gather(
            *(resized(api, content=b"", blob_key="picture") for _ in range(8))
        )
    assert sizes == [(10, 5)] * 8


async def test_a_picture_of_a_camera_is_turned(api: AppRequest) -> None:
    """The orientation in Exif and a rotation turn all of a picture in print colors."""
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.new("CMYK", (40, 20)).save(file, "JPEG", exif=exif)
    correct = images_service_pb2.InputSettings.CORRECT_ORIENTATION
    for degrees, size in ((0, (20, 40)), (90, (40, 20))):
        message = images_service_pb2.ImagesTransformRequest(
            image=images_service_pb2.ImageData(content=file.getvalue()),
            input=images_service_pb2.InputSettings(correct_exif_orientation=correct),
            transform=[images_service_pb2.Transform(rotate=degrees)],
            output=images_service_pb2.OutputSettings(),
        )
        answer = await api.call("images", "Transform", message)
        assert Image.open(io.BytesIO(answer.image.content)).size == size


async def test_the_blobstore_leaves_no_folder_behind(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stub would make one at each start, and never delete it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    server.services.stub("blobstore").CreateBlob("key", b"content")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("service", "method", "message", "path"),
    [
        (
            "blobstore",
            "CreateUploadURL",
            blobstore_service_pb2.CreateUploadURLRequest(success_path="/done"),
            "/_ah/upload/",
        ),
        (
            "images",
            "GetUrlBase",
            images_service_pb2.ImagesGetUrlBaseRequest(blob_key="key"),
            "/_ah/img/key",
        ),
    ],
)
async def test_the_url_of_a_blob_is_on_the_host_of_the_request(
    server: Server, service: str, method: str, message: Any, path: str
) -> None:
    """The browser called the app there, so it reaches the blob there."""
    api = server.request("http://127.0.0.1:9999/form")
    answer = await api.call(service, method, message)
    assert answer.url.startswith(f"http://127.0.0.1:9999{path}")


async def test_a_search_finds_the_words_that_special_characters_split(
    api: AppRequest,
) -> None:
    """The query may be one of these words, or all of them as they are in the text."""
    index, text = {"name": "texts"}, "Well-known: ann.lee@example.com"
    fields = [{"name": "text", "value": {"type": "TEXT", "string_value": text}}]
    documents = [{"id": "id", "field": fields}]
    message = search_service_pb2.IndexDocumentRequest(
        params={"index_spec": index, "document": documents}
    )
    await api.call("search", "IndexDocument", message)
    for query, count in {
        "known": 1,
        "well-known": 1,
        "text:ann.lee@example.com": 1,
        "ann.lee@example.org": 0,
        "NOT well-known": 0,
    }.items():
        message = search_service_pb2.SearchRequest(
            params={"index_spec": index, "query": query}
        )
        answer = await api.call("search", "Search", message)
        assert answer.matched_count == count, query


# --- modules, identity ----------------------------------------------------------------


ERRORS = modules_service_pb2.ModulesServiceError
SERVICES = {
    "default": RunningService("default", "v1", "localhost:8081"),
    "worker": RunningService("worker", "v2", "localhost:8082", "manual"),
}
WORKER = {"module": "worker"}
NO_SUCH = {"module": "x"}


@pytest_asyncio.fixture
async def ask(make_server: Callable[..., Server]) -> Callable[..., Awaitable[Any]]:
    """Make a call of the modules API from a service; return the field of the answer."""
    server = make_server(running=SERVICES)

    async def ask(caller: str | None, method: str, fields: dict[str, Any]) -> Any:
        request_class, _ = rpc_table.message_classes("modules", method)
        api = server.request(service=caller)
        answer = await api.call("modules", method, request_class(**fields))
        return next((value for _, value in answer.ListFields()), None)

    return ask


@pytest.mark.parametrize(
    ("caller", "method", "fields", "answer"),
    [
        (None, "GetModules", {}, ["default", "worker"]),
        (None, "GetVersions", {}, ["v1"]),
        ("worker", "GetVersions", {}, ["v2"]),
        ("default", "GetDefaultVersion", WORKER, "v2"),
        (None, "GetHostname", {}, "localhost:8081"),
        ("worker", "GetHostname", {}, "localhost:8082"),
        # the other service does not have the version of the caller
        ("default", "GetHostname", WORKER, "localhost:8082"),
        ("default", "GetHostname", {**WORKER, "version": "v2"}, "localhost:8082"),
        ("default", "GetHostname", {**WORKER, "instance": "0"}, "localhost:8082"),
        ("default", "GetNumInstances", WORKER, 1),
        ("worker", "SetNumInstances", {"instances": 1}, None),
    ],
)
async def test_the_modules_api(
    ask: Callable[..., Awaitable[Any]],
    caller: str | None,
    method: str,
    fields: dict[str, Any],
    answer: object,
) -> None:
    """Each call is about the service that makes it, if it names no other one."""
    assert await ask(caller, method, fields) == answer


@pytest.mark.parametrize(
    ("caller", "method", "fields", "code"),
    [
        ("default", "GetVersions", NO_SUCH, ERRORS.INVALID_MODULE),
        ("default", "GetDefaultVersion", NO_SUCH, ERRORS.INVALID_MODULE),
        ("default", "GetHostname", NO_SUCH, ERRORS.INVALID_MODULE),
        ("default", "GetHostname", {"version": "v2"}, ERRORS.INVALID_MODULE),
        ("default", "GetHostname", {"instance": "0"}, ERRORS.INVALID_INSTANCES),
        ("worker", "GetHostname", {"instance": "1"}, ERRORS.INVALID_INSTANCES),
        ("worker", "GetNumInstances", NO_SUCH, ERRORS.INVALID_VERSION),
        ("worker", "GetNumInstances", {"version": "v1"}, ERRORS.INVALID_VERSION),
        # with automatic scaling
        ("default", "GetNumInstances", {}, ERRORS.INVALID_VERSION),
        ("default", "SetNumInstances", {"instances": 1}, ERRORS.INVALID_VERSION),
        ("default", "StopModule", {}, ERRORS.INVALID_VERSION),
        # the client raises modules.Error, with the text
        ("worker", "SetNumInstances", {"instances": 2}, ERRORS.INVALID_INSTANCES),
        ("worker", "StopModule", {}, ERRORS.INVALID_INSTANCES),
        # the client ignores it: the version has started
        ("worker", "StartModule", WORKER | {"version": "v2"}, ERRORS.UNEXPECTED_STATE),
    ],
)
async def test_what_the_modules_api_refuses(
    ask: Callable[..., Awaitable[Any]],
    caller: str | None,
    method: str,
    fields: dict[str, Any],
    code: int,
) -> None:
    """The codes are those of which the client makes the documented errors."""
    assert await code_of(ask(caller, method, fields)) == code


async def test_usage_needs_ps(
    make_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the program, as in small container images, the call is refused."""
    api = make_server(find_pid=lambda ticket: os.getppid()).request()
    stats = system_service_pb2.GetSystemStatsRequest()
    # what the process has started, which is at least this one
    assert (await api.call("system", "GetSystemStats", stats)).memory.current > 1
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NotImplementedError, match="procps"):
        await api.call("system", "GetSystemStats", stats)


async def test_background_requests_are_refused(api: AppRequest) -> None:
    """Background requests need manual or basic scaling, so they are refused."""
    message = system_service_pb2.StartBackgroundRequestRequest()
    code = await code_of(api.call("system", "StartBackgroundRequest", message))
    assert code == system_service_pb2.SystemServiceError.BACKEND_REQUIRED


async def test_app_identity_looks_for_no_credentials(
    api: AppRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stub's own factory does, on disk and on the network, for seconds."""
    asked: list[object] = []

    def default(*args: Any, **kwargs: Any) -> Any:
        asked.append(args)
        raise DefaultCredentialsError("none here")  # type: ignore[no-untyped-call]

    monkeypatch.setattr(google.auth, "default", default)
    message = app_identity_service_pb2.SignForAppRequest(bytes_to_sign=b"bytes")
    answer = await api.call("app_identity_service", "SignForApp", message)
    assert answer.signature_bytes
    assert asked == []
