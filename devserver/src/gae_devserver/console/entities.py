"""The routes of the State API for entities."""

from aiohttp import web
from google.appengine.api import datastore, datastore_errors

from gae_devserver.console import as_json


class EntityRoutes:
    """Shows the entities of the default database."""

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [web.get("/entities", self._get_entities)]

    async def _get_entities(self, request: web.Request) -> web.Response:
        kind = request.query.get("kind")
        if not kind:
            raise web.HTTPBadRequest(
                text="The kind is missing. Write for example /entities?kind=Counter."
            )
        try:
            query = datastore.Query(kind, namespace=request.query.get("namespace", ""))
            entities = [as_json.describe_entity(entity) for entity in query.Run()]
        except datastore_errors.Error as error:
            raise web.HTTPBadRequest(
                text=f"The entities cannot be read: {error}"
            ) from None
        return web.json_response({"entities": entities}, dumps=as_json.dumps)
