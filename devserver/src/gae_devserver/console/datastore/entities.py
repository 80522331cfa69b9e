"""The routes of the console for the entities of a kind."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from gae_devserver.console.datastore.entity_filters import (
    FILTER_TYPES,
    OPERATORS,
    by_id,
    filters_in,
)
from gae_devserver.console.datastore.entity_json import describe_entity
from gae_devserver.console.datastore.entity_keys import address_in, database_named
from gae_devserver.console.datastore.entity_search import Page, Question, search
from gae_devserver.console.datastore.entity_view import cell
from gae_devserver.console.datastore.entity_writes import EntityWrites
from gae_devserver.console.datastore.typed_keys import TypedError
from gae_devserver.console.frame import bodies
from gae_devserver.console.frame.answers import show, wants_html
from gae_devserver.datastore.encoding import KEY_PROPERTY
from gae_devserver.datastore.index_query import KEY_ORDER, Order
from gae_devserver.datastore_v1.databases import Databases
from gae_devserver.datastore_v1.keys import check_name
from gae_devserver.rpc.errors import RpcError

MAX_ENTITIES = 1000
"""Entities in one answer: more would hold up the app's calls."""
_ON_A_PAGE = 100
_COLUMNS = 20


class EntityRoutes:
    """Shows the entities of any database, and deletes several."""

    def __init__(self, databases: Databases, writes: EntityWrites) -> None:
        self._databases = databases
        self._writes = writes

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/entities", self._get_entities),
            web.delete("/entities", self._delete_kind),
            web.post("/entities/delete", self._delete_several),
        ]

    async def _get_entities(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        most = _ON_A_PAGE if wants_html(request) else MAX_ENTITIES
        limit = bodies.limit_in({"limit": str(most), **query}, MAX_ENTITIES)
        try:
            question = self._question(query)
            page = await search(question, limit)
        except (RpcError, TypedError) as error:
            text = f"The entities cannot be read: {error}"
            raise web.HTTPBadRequest(text=text) from None
        partition = question.database.partition
        entities = [
            describe_entity(
                row.path,
                partition.reference(question.namespace, row.path),
                row.record.entity,
            )
            for row in page.rows
        ]
        name, descending = question.order
        data: dict[str, Any] = {
            "entities": entities,
            "cursor": page.cursor,
            "found": page.found,
            "notes": _notes(question, page),
        }
        if wants_html(request):
            data |= {
                "kind": question.kind,
                "namespace": question.namespace,
                "database": partition.database,
                "order": f"-{name}" if descending else name,
            }
            data |= _table(data, question)
        return show(request, data, "entities.html")

    def _question(self, query: Any) -> Question:
        kind = query.get("kind")
        if not kind:
            raise web.HTTPBadRequest(
                text="The kind is missing. Write for example /entities?kind=Counter."
            )
        check_name(kind, "kind")
        database = database_named(self._databases, query)
        namespace = query.get("namespace", "")
        database.partition.check_namespace(namespace)
        app_id = database.partition.app_id
        filters = filters_in(query, app_id, namespace)
        if one := by_id(query.get("id", "").strip(), kind, app_id, namespace):
            filters.append(one)
        return Question(
            database=database,
            namespace=namespace,
            kind=kind,
            filters=tuple(dict.fromkeys(filters)),
            order=_order_in(query.get("order", "")),
            cursor=query.get("cursor", ""),
        )

    async def _delete_several(self, request: web.Request) -> web.Response:
        fields = bodies.fields_in(await request.read(), '{"keys": ["URLSAFE"]}')
        keys = fields.get("keys")
        if keys is None:
            keys = [key for key, is_checked in fields.items() if is_checked is True]
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise web.HTTPBadRequest(text="keys must be a list of urlsafe keys.")
        if not keys:
            raise web.HTTPBadRequest(text="No entity is selected.")
        # all keys are checked before the first entity is deleted
        addresses = [address_in(self._databases, key) for key in keys]
        deleted = 0
        for database in {
            address.database.partition: address.database for address in addresses
        }.values():
            own = [one.reference for one in addresses if one.database is database]
            deleted += await self._writes.delete_all(database, own)
        return web.json_response({"deleted": deleted})

    async def _delete_kind(self, request: web.Request) -> web.Response:
        try:
            question = self._question(request.query)
        except (RpcError, TypedError) as error:
            raise web.HTTPBadRequest(text=str(error)) from None
        if not question.is_plain:
            raise web.HTTPBadRequest(
                text="This deletes all entities of a kind, so it takes no filter."
            )
        database, namespace = question.database, question.namespace
        paths = list(database.store.kind((namespace, question.kind)).rows)
        keys = (database.partition.reference(namespace, path) for path in paths)
        deleted = await self._writes.delete_all(database, keys)
        return web.json_response({"deleted": deleted})


def _order_in(text: str) -> Order:
    if not text:
        return KEY_ORDER
    descending = text.startswith("-")
    name = text.removeprefix("-")
    return KEY_PROPERTY if name in ("", "key") else name, descending


def _notes(question: Question, page: Page) -> list[str]:
    """Return what the app's own query would find otherwise."""
    notes = []
    if page.unsorted:
        notes.append(
            f"{page.unsorted:,} of them do not have the property "
            f"{question.order[0]!r}. They come last here; a query of the app with this "
            "order does not find them."
        )
    if page.unindexed:
        names = ", ".join(map(repr, page.unindexed))
        notes.append(
            f"Some values of {names} are not indexed. They are found here; a query of "
            "the app that filters or sorts by them does not find these entities."
        )
    return notes


def _table(data: Mapping[str, Any], question: Question) -> dict[str, Any]:
    """Return what only the page shows."""
    names = list(
        dict.fromkeys(name for one in data["entities"] for name in one["properties"])
    )
    order, descending = question.order
    columns = names[:_COLUMNS]
    if order in names and order not in columns:
        columns[-1] = order
    base = [
        ("kind", question.kind),
        *[(name, data[name]) for name in ("namespace", "database") if data[name]],
    ]
    filters = [("filter", str(one)) for one in question.filters]
    links = {
        name: _query(
            *base,
            *filters,
            ("order", name if name != order or descending else f"-{name}"),
        )
        for name in [KEY_PROPERTY, *columns]
    }
    ordered = [("order", data["order"])] if question.order != KEY_ORDER else []
    return {
        "columns": [
            {
                "name": name,
                "query": links[name],
                "sort": _sort(name, question.order),
            }
            for name in columns
        ],
        "key_column": {
            "query": links[KEY_PROPERTY],
            "sort": _sort(KEY_PROPERTY, question.order),
        },
        "names": names,
        "more_columns": len(names) - len(columns),
        "rows": [
            {
                "urlsafe": one["urlsafe"],
                "title": title_of(one["key"]),
                "cells": [
                    cell(one["properties"][name]) if name in one["properties"] else None
                    for name in columns
                ],
            }
            for one in data["entities"]
        ],
        "total": len(
            question.database.store.kind((question.namespace, question.kind)).rows
        ),
        "used": [
            {
                "text": str(one),
                "without": _query(
                    *base, *(pair for pair in filters if pair[1] != str(one)), *ordered
                ),
            }
            for one in question.filters
        ],
        "fields": [*base, *filters, *ordered],
        "base_query": _query(*base),
        "operators": OPERATORS,
        "types": FILTER_TYPES,
    }


def _sort(name: str, order: Order) -> str:
    if name != order[0]:
        return "none"
    return "descending" if order[1] else "ascending"


def _query(*fields: tuple[str, str]) -> str:
    return f"?{urlencode(fields, errors='surrogateescape')}"


def title_of(key: list[list[Any]]) -> str:
    """Return the ids in a key, from the root down; the kind of the last is known."""
    *above, (_, last) = key
    return "".join(f"{kind} {identifier} / " for kind, identifier in above) + str(last)
