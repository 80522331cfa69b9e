"""The routes of the console for one entity: view, edit, create, delete, download."""

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from google.appengine.datastore import entity_bytes_pb2 as entity_pb

from gae_devserver.console.datastore import entity_form
from gae_devserver.console.datastore.entity_changes import (
    changed_entity,
    key_of,
    properties_in,
)
from gae_devserver.console.datastore.entity_json import pairs_of, urlsafe
from gae_devserver.console.datastore.entity_keys import (
    Address,
    address_in,
    address_of,
    database_for,
    database_named,
)
from gae_devserver.console.datastore.entity_view import show_property
from gae_devserver.console.datastore.entity_writes import EntityWrites
from gae_devserver.console.datastore.typed_decoding import Typed, bytes_in
from gae_devserver.console.datastore.typed_encoding import encode_properties, grouped
from gae_devserver.console.datastore.typed_entities import encode_entity, version_of
from gae_devserver.console.datastore.typed_keys import TypedError, decode_key
from gae_devserver.console.frame import bodies
from gae_devserver.console.frame.answers import show, wants_html
from gae_devserver.console.frame.downloads import attachment
from gae_devserver.datastore_v1.databases import Databases
from gae_devserver.rpc.errors import RpcError

_MAX_BODY = 4 * 2**20
_ON_THE_PAGE = 200
"""Properties; an entity can have thousands."""
_EDIT = '{"version": "...", "properties": {...}}'
_NEW = '{"key": {"path": [["Order", null]]}, "properties": {...}}'


class OneEntityRoutes:
    """Shows and changes one entity, of either NDB library."""

    def __init__(self, databases: Databases, writes: EntityWrites) -> None:
        self._databases = databases
        self._writes = writes

    def routes(self) -> list[web.RouteDef]:
        """Return the routes; that of a new entity comes before those with a key."""
        return [
            web.get("/entities/new", self._get_new),
            web.post("/entities", self._create),
            web.get("/entities/{key}", self._get),
            web.get("/entities/{key}/value", self._download),
            web.put("/entities/{key}", self._edit),
            web.delete("/entities/{key}", self._delete),
        ]

    def _address(self, request: web.Request) -> Address:
        return address_in(self._databases, request.match_info["key"])

    async def _get(self, request: web.Request) -> web.StreamResponse:
        address = self._address(request)
        data = _describe(address)
        if wants_html(request):
            data |= _page(address, data["properties"])
        return show(request, data, "entity.html")

    async def _get_new(self, request: web.Request) -> web.StreamResponse:
        kind = request.query.get("kind", "")
        namespace = request.query.get("namespace", "")
        database = database_named(self._databases, request.query)
        # An entity of the kind shows which properties it has.
        rows = database.store.kind((namespace, kind)).rows.values()
        example = next(iter(rows), None)
        properties: Mapping[str, Typed] = {}
        if example is not None:
            app_id = database.partition.app_id
            properties = encode_properties(example.record.entity, app_id)
        data = {
            "kind": kind,
            "namespace": namespace,
            "database": database.partition.database,
            "rows": [
                row
                for row in entity_form.rows_of(list(properties.items())[:_ON_THE_PAGE])
                if row.type != entity_form.SAME
            ],
            "types": entity_form.FORM_TYPES,
            "new_rows": range(1, entity_form.NEW_ROWS + 1),
        }
        return show(request, data, "entity_new.html")

    async def _edit(self, request: web.Request) -> web.Response:
        address = self._address(request)
        fields = bodies.fields_in(await bodies.read(request, _MAX_BODY), _EDIT)
        version = fields.get("version")
        if not isinstance(version, str):
            raise web.HTTPBadRequest(
                text="The version is missing: send the one that you have read."
            )
        _check_version(address, version)
        stored = address.stored().record.entity
        app_id = address.database.partition.app_id
        before = encode_properties(stored, app_id)
        try:
            wanted = properties_in(fields, before)
            entity = changed_entity(stored, wanted, before, app_id)
        except TypedError as error:
            raise web.HTTPBadRequest(text=f"Nothing was saved: {error}.") from None
        if entity != stored:
            await self._writes.put(
                address.database, entity, lambda: _check_version(address, version)
            )
        return web.json_response(_describe(address))

    async def _create(self, request: web.Request) -> web.Response:
        fields = bodies.fields_in(await bodies.read(request, _MAX_BODY), _NEW)
        key = entity_pb.Reference()
        app_id = next(iter(self._databases.named.values())).partition.app_id
        try:
            decode_key(key_of(fields), app_id, key, key.path.element)
            database = database_for(self._databases, key)
            is_incomplete = not (key.path.element[-1].id or key.path.element[-1].name)
            if is_incomplete:
                key.path.element[-1].ClearField("id")
                database.store._AllocateIds([key])
            address = address_of(database, key)
            entity = entity_pb.EntityProto(key=address.reference)
            entity.entity_group.element.append(key.path.element[0])
            wanted = properties_in(fields, {})
            entity = changed_entity(entity, wanted, {}, app_id)
        except (TypedError, RpcError) as error:
            raise web.HTTPBadRequest(text=f"Nothing was saved: {error}.") from None

        def check_new() -> None:
            if address.row() is not None:
                raise web.HTTPConflict(
                    text="Nothing was saved: there is an entity with this key already."
                )

        if not is_incomplete:
            # Its ids are never allocated later, even after a deletion.
            database.store._AllocateIds([address.reference])
        await self._writes.put(database, entity, check_new)
        return web.json_response(_describe(address))

    async def _delete(self, request: web.Request) -> web.Response:
        address = self._address(request)
        version = request.query.get("version")

        def check_same() -> None:
            if version is None:
                address.stored()
            else:
                _check_version(address, version)

        await self._writes.delete(address.database, address.reference, check_same)
        return web.json_response({"deleted": True})

    async def _download(self, request: web.Request) -> web.Response:
        """Return a value in full: bytes and text as they are, others as JSON."""
        address = self._address(request)
        name = request.query.get("property", "")
        entity = address.stored().record.entity
        typed = encode_properties(entity, address.database.partition.app_id).get(name)
        if typed is None:
            raise web.HTTPNotFound(text=f"The entity has no property {name!r}.")
        if typed["type"] == "bytes":
            content, suffix = bytes_in(typed["value"]), "bin"
        elif typed["type"] == "text":
            content, suffix = typed["value"].encode(), "txt"
        else:
            content, suffix = json.dumps(typed["value"]).encode(), "json"
        return attachment(content, len(content), f"{name[:50]}.{suffix}")


def _check_version(address: Address, version: str) -> None:
    row = address.row()
    if row is None:
        raise web.HTTPConflict(
            text="Nothing was saved: the entity was deleted after you read it."
        )
    if version_of(row.record.entity) != version:
        raise web.HTTPConflict(
            text="Nothing was saved: the entity has changed since you read it. On the "
            "page, fields that you have not touched now show its new values, and "
            "saving again keeps those; a program has to read it again."
        )


def _describe(address: Address) -> dict[str, Any]:
    entity = address.stored().record.entity
    shown = encode_entity(entity, address.database)
    app_id = address.database.partition.app_id
    return {
        "urlsafe": urlsafe(address.reference),
        "cloud_urlsafe": _cloud_urlsafe(address),
        "kind": str(address.path[-3]),
        "namespace": address.namespace,
        "database": address.database.partition.database,
        "version": version_of(entity),
        "size": entity.ByteSize(),
        "key": shown.get("key"),
        "properties": encode_properties(entity, app_id),
    }


def _cloud_urlsafe(address: Address) -> str:
    """Return what the method urlsafe() of a key of Cloud NDB returns."""
    reference = entity_pb.Reference()
    reference.CopyFrom(address.reference)
    reference.app = address.database.partition.project
    return urlsafe(reference)


def _page(address: Address, properties: Mapping[str, Typed]) -> dict[str, Any]:
    """Return what only the page shows."""
    entity = address.stored().record.entity
    stored = grouped(entity)
    first = list(properties.items())[:_ON_THE_PAGE]
    pairs = pairs_of(address.path)
    parents = [
        {"title": f"{kind} {identifier}", "urlsafe": urlsafe(_part(address, number))}
        for number, (kind, identifier) in enumerate(pairs[:-1], 1)
    ]
    return {
        "title": f"{pairs[-1][0]} {pairs[-1][1]}",
        "parents": parents,
        "shown": [show_property(name, typed, stored[name]) for name, typed in first],
        "rows": entity_form.rows_of(first),
        "more": len(properties) - len(first),
        "types": entity_form.FORM_TYPES,
        "new_rows": range(1, entity_form.NEW_ROWS + 1),
    }


def _part(address: Address, length: int) -> Any:
    """Return the key of an ancestor."""
    reference = entity_pb.Reference()
    reference.CopyFrom(address.reference)
    del reference.path.element[length:]
    return reference
