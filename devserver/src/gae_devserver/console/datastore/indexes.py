"""The route of the State API for the indexes of queries."""

from collections.abc import Hashable, Mapping
from typing import Any

from aiohttp import web
from google.appengine.datastore import datastore_index

from gae_devserver.config.index_yaml import Key, yaml_of
from gae_devserver.console.frame.answers import show
from gae_devserver.datastore.needed_indexes import NeededIndexes


class IndexRoute:
    """Shows the indexes of index.yaml, and those that it lacks."""

    def __init__(self, indexes: NeededIndexes) -> None:
        self._indexes = indexes

    def routes(self) -> list[web.RouteDef]:
        """Return the route."""
        return [web.get("/indexes", self._get_indexes)]

    def revisions(self) -> Mapping[str, Hashable]:
        """Return what changes with each query whose index is missing."""
        return {"indexes": (self._indexes.file.keys, self._indexes.queries)}

    async def _get_indexes(self, request: web.Request) -> web.StreamResponse:
        file, counts = self._indexes.file, self._indexes.missing_counts()
        missing = sorted(counts)
        entries = [yaml_of(key) for key in missing]
        if entries and not file.exists:
            entries.insert(0, "indexes:")
        data = {
            "existing": [_describe(key) for key in sorted(file.keys)],
            "missing": [{**_describe(key), "queries": counts[key]} for key in missing],
            "yaml": "".join(f"{entry}\n\n" for entry in entries).rstrip("\n"),
        }
        return show(request, data, "indexes.html")


def _describe(key: Key) -> dict[str, Any]:
    kind, ancestor, properties = key
    return {
        "kind": kind,
        "ancestor": ancestor,
        "properties": [
            {
                "name": spec.name,
                "direction": "desc"
                if spec.direction == datastore_index.DESCENDING
                else "asc",
            }
            for spec in properties
        ],
    }
