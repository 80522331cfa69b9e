"""The pages of search: indexes and their documents, and what deletes them."""

from collections.abc import Hashable, Mapping
from typing import Any
from urllib.parse import urlencode

from aiohttp import web
from google.appengine.runtime import apiproxy_errors

from gae_devserver.console.frame import bodies
from gae_devserver.console.frame.answers import show
from gae_devserver.services.services import Services

_PAGE = 100
_SHOWN = 1000
"""Characters of a value in the list."""


class SearchRoutes:
    """Shows, finds and deletes documents of the Search API.

    Importing the stub is slow, so everything here waits until the app has used it.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/search", self._list),
            web.get("/search/index", self._show),
            web.delete("/search/index", self._delete_index),
            web.get("/search/document", self._show_document),
            web.delete("/search/document", self._delete_document),
        ]

    def revisions(self) -> Mapping[str, Hashable]:
        """Return what changes with each call of the app."""
        stub = self._services.used_stub("search")
        return {"search": stub and (id(stub), stub.calls)}

    async def _list(self, request: web.Request) -> web.StreamResponse:
        limit = bodies.limit_in(request.query, _PAGE)
        (start,) = bodies.cursor_in(request.query, "0")
        found = sorted(self._indexes().items())
        indexes = [
            {
                "namespace": namespace,
                "name": name,
                "documents": index.document_count,
                "url": _url("index", namespace, name),
            }
            for (namespace, name), index in found[start : start + limit]
        ]
        following = start + limit
        cursor = str(following) if following < len(found) else None
        return show(request, {"indexes": indexes, "cursor": cursor}, "search.html")

    async def _show(self, request: web.Request) -> web.StreamResponse:
        namespace, name, index = self._index(request)
        limit = bodies.limit_in(request.query, _PAGE)
        query, cursor = request.query.get("query", ""), request.query.get("cursor", "")
        fault, following, matched = None, None, index.document_count
        if query.strip():
            (offset,) = bodies.cursor_in(request.query, "0")
            documents, matched, fault = self._find(index, query, offset, limit)
            if offset + limit < matched:
                following = str(offset + limit)
        else:
            documents, following = _page(index, bodies.text_place_in(cursor), limit)
        data = {
            "namespace": namespace,
            "name": name,
            "url": _url("index", namespace, name),
            "matched": matched,
            "documents": [
                _describe(document, namespace, name, _SHOWN) for document in documents
            ],
            "cursor": following,
            "find": query,
            "fault": fault,
        }
        return show(
            request, data, "search_index.html", status=200 if fault is None else 400
        )

    def _find(
        self, index: Any, query: str, offset: int, limit: int
    ) -> tuple[list[Any], int, str | None]:
        """Return documents, how many there are in all, and the query's mistake."""
        from google.appengine.api.search import search_service_pb2 as pb

        params = pb.SearchParams(query=query, offset=offset, limit=limit)
        params.index_spec.CopyFrom(index.index_spec)
        found = pb.SearchResponse()
        try:
            stub = self._services.stub("search")
            stub._Dynamic_Search(pb.SearchRequest(params=params), found)
        except (apiproxy_errors.Error, NotImplementedError) as error:
            return [], 0, str(error) or type(error).__name__
        if found.status.code != pb.SearchServiceError.OK:
            return [], 0, found.status.error_detail
        documents = [result.document for result in found.result]
        return documents, found.matched_count, None

    async def _show_document(self, request: web.Request) -> web.StreamResponse:
        namespace, name, index = self._index(request)
        document = _document(request, index)
        data = {
            "index": {
                "namespace": namespace,
                "name": name,
                "url": _url("index", namespace, name),
            },
            **_describe(document, namespace, name, None),
        }
        return show(request, data, "search_document.html")

    async def _delete_document(self, request: web.Request) -> web.Response:
        from google.appengine.api.search import search_service_pb2 as pb

        *_, index = self._index(request)
        document = _document(request, index)
        message = pb.DeleteDocumentRequest()
        message.params.doc_id.append(document.id)
        message.params.index_spec.CopyFrom(index.index_spec)
        stub = self._services.stub("search")
        response = pb.DeleteDocumentResponse()
        stub.MakeSyncCall("search", "DeleteDocument", message, response)
        return web.json_response({"deleted": True})

    async def _delete_index(self, request: web.Request) -> web.Response:
        namespace, name, index = self._index(request)
        count = index.document_count
        self._services.stub("search").delete_index(namespace, name)
        return web.json_response({"deleted": count})

    def _indexes(self) -> dict[tuple[str, str], Any]:
        stub = self._services.used_stub("search")
        return {} if stub is None else stub.indexes()

    def _index(self, request: web.Request) -> tuple[str, str, Any]:
        namespace = request.query.get("namespace", "")
        name = request.query.get("name", "")
        index = self._indexes().get((namespace, name))
        if index is None:
            raise web.HTTPNotFound(
                text=f"There is no index {name!r} in the namespace {namespace!r}."
            )
        return namespace, name, index


def _document(request: web.Request, index: Any) -> Any:
    name = request.query.get("id", "")
    for document in index.Documents():
        if document.id == name:
            return document
    raise web.HTTPNotFound(text=f"The index has no document {name!r}.")


def _page(index: Any, after: str, limit: int) -> tuple[list[Any], str | None]:
    """Return documents in the order of their IDs, and the cursor of those behind."""
    found = sorted(
        (document for document in index.Documents() if document.id > after),
        key=lambda document: document.id,
    )
    page = found[:limit]
    if len(found) <= limit:
        return page, None
    return page, bodies.cursor_of(page[-1].id.encode())


def _url(what: str, namespace: str, name: str, **others: str) -> str:
    names = {"namespace": namespace, "name": name, **others}
    return f"/search/{what}?{urlencode(names)}"


def _describe(
    document: Any, namespace: str, name: str, shown: int | None
) -> dict[str, Any]:
    return {
        "id": document.id,
        "url": _url("document", namespace, name, id=document.id),
        "rank": document.order_id,
        "language": document.language,
        "fields": [_value_of(field, shown) for field in document.field],
        "facets": [_value_of(facet, shown) for facet in document.facet],
    }


def _value_of(field: Any, shown: int | None) -> dict[str, Any]:
    """Return a field or a facet."""
    value = field.value
    kind = value.ContentType.Name(value.type).lower()
    text = value.string_value
    if kind == "geo":
        text = f"{value.geo.lat:g}, {value.geo.lng:g}"
    elif kind == "vector":
        text = ", ".join(f"{number:g}" for number in value.vector_value)
    elif kind == "date":
        text = _date(text)
    return {
        "name": field.name,
        "type": kind,
        "value": text[:shown],
        "is_cut": shown is not None and len(text) > shown,
    }


def _date(stored: str) -> str:
    """Return a date as people write it; the SDK stores milliseconds."""
    from google.appengine.api.search import search_util

    try:
        return str(search_util.DeserializeDate(stored))
    except (ValueError, OverflowError):
        return stored
