"""The route of the console for the databases, namespaces and kinds."""

from collections.abc import Hashable, Mapping
from typing import Any

from aiohttp import web

from gae_devserver.console.frame.answers import show
from gae_devserver.datastore_v1.databases import Database, Databases


class DatastoreRoute:
    """Shows which kinds there are, and how many entities each has."""

    def __init__(self, databases: Databases) -> None:
        self._databases = databases

    def routes(self) -> list[web.RouteDef]:
        """Return the route."""
        return [web.get("/datastore", self._get_datastore)]

    def revisions(self) -> Mapping[str, Hashable]:
        """Return a number that goes up with each change of an entity."""
        named = self._databases.named.values()
        return {"datastore": sum(database.store.changes for database in named)}

    async def _get_datastore(self, request: web.Request) -> web.StreamResponse:
        named = self._databases.named.items()
        data = {
            "databases": [
                {"database": name, "namespaces": _namespaces(database)}
                for name, database in sorted(named)
            ]
        }
        return show(request, data, "datastore.html")


def _namespaces(database: Database) -> list[dict[str, Any]]:
    counts: dict[str, dict[str, int]] = {}
    for namespace, kind in database.store.kinds():
        rows = database.store.kind((namespace, kind)).rows
        counts.setdefault(_text(namespace), {})[_text(kind)] = len(rows)
    return [
        {
            "namespace": namespace,
            "kinds": [{"kind": kind, "count": kinds[kind]} for kind in sorted(kinds)],
        }
        for namespace, kinds in sorted(counts.items())
    ]


def _text(name: str | bytes) -> str:
    # Protocol buffers return text that is not UTF-8 as bytes.
    return name.decode(errors="surrogateescape") if isinstance(name, bytes) else name
