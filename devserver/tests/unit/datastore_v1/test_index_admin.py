"""google.datastore.admin.v1.DatastoreAdmin, with Google's client for it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.api_core import exceptions
from google.cloud.datastore_admin_v1 import DatastoreAdminClient
from google.cloud.datastore_admin_v1.services.datastore_admin import transports

from gae_devserver.config.index_yaml import load_index_yaml
from gae_devserver.datastore.needed_indexes import NeededIndexes
from gae_devserver.datastore_v1.index_admin import IndexAdmin
from gae_devserver.rpc.port import GrpcPort
from tests.helpers.calls import APP_ID, PROJECT

pytestmark = pytest.mark.asyncio

ENTRY = """
- kind: {kind}
  ancestor: {ancestor}
  properties:
  - name: a
  - name: b
    direction: desc
"""
TEXT = "indexes:" + "".join(
    ENTRY.format(kind=kind, ancestor=ancestor)
    for kind, ancestor in [("Zoo", "yes"), ("Animal", "no"), ("Lion", "no")]
)


@pytest.fixture
def indexes(tmp_path: Path) -> NeededIndexes:
    """The indexes of three kinds."""
    path = tmp_path / "index.yaml"
    path.write_text(TEXT)
    return NeededIndexes(path, load_index_yaml(path))


Call = Callable[..., Any]


@pytest_asyncio.fixture
async def call(indexes: NeededIndexes) -> AsyncIterator[Call]:
    """Calls a method of a client with a request."""
    port = GrpcPort(IndexAdmin(indexes, APP_ID).rpcs)
    host = f"127.0.0.1:{await port.start()}"
    with grpc.insecure_channel(host) as channel:
        transport = transports.DatastoreAdminGrpcTransport(channel=channel)
        client = DatastoreAdminClient(transport=transport)

        async def call(method: str, **request: Any) -> Any:
            request = {"project_id": PROJECT, **request}
            return await asyncio.to_thread(
                getattr(client, method), request, timeout=20, retry=None
            )

        yield call
    await port.stop()


async def test_indexes_are_listed_in_pages(call: Call) -> None:
    """Every page has the size that the request asks for; 0 returns all."""
    pages = await call("list_indexes", page_size=2)
    sizes = await asyncio.to_thread(lambda: [len(page.indexes) for page in pages.pages])
    assert sizes == [2, 1]
    found = [index.kind for index in await call("list_indexes")]
    assert found == ["Animal", "Lion", "Zoo"]


async def test_an_index_has_the_fields_of_its_entry(call: Call) -> None:
    """ListIndexes and GetIndex describe an entry of index.yaml alike."""
    *_, zoo = await call("list_indexes")
    assert await call("get_index", index_id=zoo.index_id) == zoo
    assert (zoo.project_id, zoo.kind, zoo.ancestor.name, zoo.state.name) == (
        PROJECT,
        "Zoo",
        "ALL_ANCESTORS",
        "READY",
    )
    properties = [(item.name, item.direction.name) for item in zoo.properties]
    assert properties == [("a", "ASCENDING"), ("b", "DESCENDING")]


async def test_an_edit_keeps_the_ids_of_the_other_indexes(
    call: Call, indexes: NeededIndexes, tmp_path: Path
) -> None:
    """An edited index.yaml counts at once; what it still has keeps its id."""
    before = {index.kind: index.index_id for index in await call("list_indexes")}
    path = tmp_path / "index.yaml"
    path.write_text("indexes:" + ENTRY.format(kind="Lion", ancestor="no"))
    indexes.apply(load_index_yaml(path))
    (lion,) = await call("list_indexes")
    assert lion.index_id == before["Lion"]
    with pytest.raises(exceptions.NotFound, match=before["Zoo"]):
        await call("get_index", index_id=before["Zoo"])


@pytest.mark.parametrize(
    ("method", "request_fields", "error"),
    [
        ("list_indexes", {"page_size": -1}, exceptions.InvalidArgument),
        ("list_indexes", {"page_token": "none"}, exceptions.InvalidArgument),
        ("list_indexes", {"filter": "state:READY"}, exceptions.MethodNotImplemented),
        ("list_indexes", {"project_id": "other"}, exceptions.PermissionDenied),
        ("get_index", {"project_id": "other"}, exceptions.PermissionDenied),
        ("get_index", {"index_id": ""}, exceptions.InvalidArgument),
        ("delete_index", {"index_id": "1"}, exceptions.MethodNotImplemented),
    ],
    ids=str,
)
async def test_what_cannot_be_answered_is_refused(
    call: Call, method: str, request_fields: dict[str, Any], error: type[Exception]
) -> None:
    """Each refusal has the status that production gives it."""
    with pytest.raises(error):
        await call(method, **request_fields)
