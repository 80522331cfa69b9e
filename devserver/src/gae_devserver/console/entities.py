"""The routes of the State API for entities."""

import base64
from typing import Any

from aiohttp import web

from gae_devserver.console import bodies
from gae_devserver.console.entity_json import describe_entity
from gae_devserver.datastore.calls import DatastoreCalls
from gae_devserver.datastore_v1 import cursors, messages, queries
from gae_devserver.datastore_v1.databases import Database
from gae_devserver.datastore_v1.keys import Partition
from gae_devserver.datastore_v1.limits import DEFAULT_LIMITS
from gae_devserver.datastore_v1.run_query import Search
from gae_devserver.rpc.errors import RpcError

MAX_ENTITIES = 1000
"""Entities in one answer: more would hold up the app's calls."""


class EntityRoutes:
    """Shows the entities of the default database."""

    def __init__(self, calls: DatastoreCalls, app_id: str) -> None:
        """Make the routes for a database; `app_id` is "dev~" and the project."""
        partition = Partition(app_id, "")
        self._database = Database(partition, calls.stub, calls.locks, DEFAULT_LIMITS)

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [web.get("/entities", self._get_entities)]

    async def _get_entities(self, request: web.Request) -> web.Response:
        kind = request.query.get("kind")
        if not kind:
            raise web.HTTPBadRequest(
                text="The kind is missing. Write for example /entities?kind=Counter."
            )
        limit = bodies.limit_in(request.query, MAX_ENTITIES)
        namespace = request.query.get("namespace", "")
        cursor = request.query.get("cursor", "")
        try:
            return web.json_response(self._page(kind, namespace, limit, cursor))
        except (RpcError, ValueError) as error:
            text = f"The entities cannot be read: {error}"
            raise web.HTTPBadRequest(text=text) from None

    def _page(
        self, kind: str, namespace: str, limit: int, cursor: str
    ) -> dict[str, Any]:
        database = self._database
        partition, limits = database.partition, database.limits
        partition.check_namespace(namespace)
        start = base64.b64decode(cursor, altchars=b"-_", validate=True)
        query = messages.Query(start_cursor=start)
        query.kind.add(name=kind)
        parsed = queries.parse(query, namespace, partition)
        shown: list[dict[str, Any]] = []
        size, following, last = 0, None, None
        for hit in Search(database.store, parsed, database).hits():
            if last and (len(shown) == limit or size > limits.batch_bytes):
                orders = parsed.search.orders
                place = cursors.encode(last.position, orders, namespace, partition)
                following = base64.urlsafe_b64encode(place).decode()
                break
            path, entity = hit.row.path, hit.row.record.entity
            reference = partition.reference(namespace, path)
            shown.append(describe_entity(path, reference, entity))
            size += entity.ByteSize()
            last = hit
        return {"entities": shown, "cursor": following}
