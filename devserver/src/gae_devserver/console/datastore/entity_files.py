"""The routes of the console that export and import entities.

The file is one JSON object with one entity on each line, so it is read and written in
parts that do not hold up the app.
"""

import contextlib
import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

from aiohttp import web

from gae_devserver.console.datastore.entity_keys import (
    address_of,
    database_for,
    database_named,
)
from gae_devserver.console.datastore.entity_writes import EntityWrites
from gae_devserver.console.datastore.typed_entities import decode_entity, encode_entity
from gae_devserver.console.datastore.typed_keys import TypedError
from gae_devserver.console.frame import bodies
from gae_devserver.console.frame.downloads import disposition
from gae_devserver.console.frame.turns import in_turns
from gae_devserver.datastore.property_index import Row
from gae_devserver.datastore_v1.databases import Database, Databases
from gae_devserver.rpc.errors import RpcError

FORMAT, VERSION = "gae-devserver entities", 1
MAX_IMPORT_BYTES = 64 * 2**20
_MOST_ERRORS = 100
_PART_BYTES = 2**16
_HEAD = re.compile(rb'\A\{.*"entities": \[\r?\n')


class EntityFileRoutes:
    """Exports the entities of a database, and imports them with their ids."""

    def __init__(
        self,
        databases: Databases,
        writes: EntityWrites,
        *,
        max_bytes: int = MAX_IMPORT_BYTES,
    ) -> None:
        """Make the routes; an import has at most `max_bytes`."""
        self._databases = databases
        self._writes = writes
        self._max_bytes = max_bytes

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/datastore/export", self._export),
            web.post("/datastore/import", self._import),
        ]

    async def _export(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        database = database_named(self._databases, query)
        # As they are now: rows are replaced, but never changed.
        rows = [
            row
            for namespace, kind in list(database.store.kinds())
            if query.get("kind", kind) == kind
            and query.get("namespace", namespace) == namespace
            for row in database.store.kind((namespace, kind)).rows.values()
        ]
        name = f"{query.get('kind', 'entities')[:50]}.json"
        response = web.StreamResponse(headers=disposition(name))
        response.content_type = "application/json"
        await response.prepare(request)
        part = bytearray()
        # the client may have enough
        with contextlib.suppress(ConnectionError):
            async for text in _lines(rows, database):
                part += text
                if len(part) >= _PART_BYTES:
                    await response.write(bytes(part))
                    part.clear()
            await response.write(bytes(part))
            await response.write_eof()
        return response

    async def _import(self, request: web.Request) -> web.Response:
        body = await bodies.read(request, self._max_bytes)
        errors: list[dict[str, Any]] = []
        wanted: dict[str, dict[Any, Any]] = {}
        async for number, entity in in_turns(enumerate(_entities_in(body), 1)):
            try:
                proto, database, place = self._read(entity)
                own = wanted.setdefault(database, {})
                if place in own:
                    raise TypedError("an earlier entity has the same key")
                own[place] = proto
            except (TypedError, RpcError) as error:
                # In a file of the export, the first entity is on the second line.
                line = number + 1
                errors.append({"entity": number, "line": line, "error": str(error)})
                if len(errors) >= _MOST_ERRORS:
                    break
        if errors:
            first = errors[0]
            text = (
                f"Nothing was imported: entity {first['entity']} (line "
                f"{first['line']} of an exported file): {first['error']}."
            )
            if len(errors) > 1:
                text += f" {len(errors) - 1} more are wrong."
            return web.json_response({"error": text, "errors": errors}, status=400)
        for name, protos in wanted.items():
            await self._writes.put_all(
                self._databases.named[name], list(protos.values())
            )
        count = sum(map(len, wanted.values()))
        return web.json_response({"imported": count})

    def _read(self, entity: Any) -> tuple[Any, str, Any]:
        app_id = self._databases.named[""].partition.app_id
        proto = decode_entity(entity, app_id)
        database = database_for(self._databases, proto.key)
        address = address_of(database, proto.key)
        proto.key.CopyFrom(address.reference)
        return proto, database.partition.database, (address.namespace, address.path)


async def _lines(rows: list[Row], database: Database) -> AsyncIterator[bytes]:
    head = {"format": FORMAT, "version": VERSION, "project": database.partition.project}
    yield json.dumps(head).encode().removesuffix(b"}") + b', "entities": [\n'
    async for number, row in in_turns(enumerate(rows, 1)):
        comma = b",\n" if number < len(rows) else b"\n"
        text = json.dumps(encode_entity(row.record.entity, database), allow_nan=False)
        yield text.encode() + comma
    yield b"]}\n"


def _entities_in(body: bytes) -> Iterator[Any]:
    """Yield the entities in a file; one of the export is read line by line."""
    head = _HEAD.match(body)
    if head is None or not body.rstrip().endswith(b"]}"):
        file = _loads(body, "the file")
        _check_head(file)
        yield from file["entities"]
        return
    _check_head(_loads(head[0] + b"]}", "the first line"))
    lines = body[head.end() :].rstrip()[:-2].splitlines()
    for number, line in enumerate(lines, 2):
        text = line.strip()
        if number <= len(lines):
            text = text.removesuffix(b",")
        yield _loads(text, f"line {number}")


def _loads(text: bytes, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise web.HTTPBadRequest(
            text=f"Nothing was imported: {what} is not valid JSON ({error})."
        ) from None


def _check_head(file: Any) -> None:
    match file:
        case {"format": str() as name, "version": version, "entities": list()} if (
            name == FORMAT
        ):
            if version != VERSION:
                raise web.HTTPBadRequest(
                    text="Nothing was imported: the version of the file is "
                    f"{version!r}, and this server reads version {VERSION}."
                )
        case _:
            raise web.HTTPBadRequest(
                text="Nothing was imported: this is no file of GET /datastore/export, "
                f'which begins with {{"format": "{FORMAT}", "version": {VERSION}'
            )
