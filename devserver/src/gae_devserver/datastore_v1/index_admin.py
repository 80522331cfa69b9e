"""Carries out the RPCs of google.datastore.admin.v1.DatastoreAdmin that read indexes.

The indexes are those of index.yaml. Google's emulators have no such RPCs, so clients
and scripts that look at the indexes work only in production and here.
"""

import hashlib
from typing import Any

from google.appengine.datastore import datastore_index

from gae_devserver.config.index_yaml import Key, yaml_of
from gae_devserver.datastore.needed_indexes import NeededIndexes
from gae_devserver.datastore_v1.keys import check_project
from gae_devserver.datastore_v1.messages import admin
from gae_devserver.rpc.errors import NotFoundError, check, refuse_if
from gae_devserver.rpc.method import BeforeAnswer, CarryOut, Method

_SERVICE = "google.datastore.admin.v1.DatastoreAdmin"


class IndexAdmin:
    """Lists the indexes of index.yaml as production lists those that are deployed."""

    def __init__(
        self,
        indexes: NeededIndexes,
        app_id: str,
        *,
        before_answer: BeforeAnswer = lambda name: None,
    ) -> None:
        """Prepare to serve the indexes of one project.

        Args:
            indexes: knows index.yaml as it is in effect.
            app_id: "dev~" and the project; requests for other projects are refused.
            before_answer: called with the name of each RPC that succeeded.
        """
        self._indexes = indexes
        self._app_id = app_id
        self._before_answer = before_answer

    @property
    def rpcs(self) -> dict[str, Method]:
        """The RPCs by their full names."""
        rpcs: list[tuple[str, Any, Any, CarryOut]] = [
            (
                "ListIndexes",
                admin.ListIndexesRequest,
                admin.ListIndexesResponse,
                self._list_indexes,
            ),
            ("GetIndex", admin.GetIndexRequest, admin.Index, self._get_index),
        ]
        return {
            f"{_SERVICE}/{name}": Method(
                f"DatastoreAdmin.{name}",
                request.pb(),
                response.pb(),
                rpc,
                self._before_answer,
            )
            for name, request, response, rpc in rpcs
        }

    def _by_id(self) -> dict[str, Key]:
        """Return the indexes by their ids, in a fixed order."""
        return {_id_of(key): key for key in sorted(self._indexes.file.keys)}

    async def _list_indexes(self, request: Any, response: Any) -> None:
        project = check_project(request.project_id, self._app_id)
        refuse_if(request.filter, "the filter of ListIndexes")
        size, token = request.page_size, request.page_token
        check(size >= 0, f"page_size is {size}, but it must be 0 or more.")
        found = self._by_id()
        ids = list(found)
        check(
            token in ("", *ids),
            f'page_token is "{token}", but it must be the next_page_token of the page'
            " before.",
        )
        first = ids.index(token) if token else 0
        end = first + (size or len(ids))
        for identifier in ids[first:end]:
            _write(project, identifier, found[identifier], response.indexes.add())
        response.next_page_token = "".join(ids[end : end + 1])

    async def _get_index(self, request: Any, response: Any) -> None:
        project = check_project(request.project_id, self._app_id)
        identifier = request.index_id
        check(identifier, "index_id is the empty string.")
        key = self._by_id().get(identifier)
        if key is None:
            raise NotFoundError(
                f'index.yaml has no index with the id "{identifier}". ListIndexes'
                " returns the ids."
            )
        _write(project, identifier, key, response)


def _id_of(key: Key) -> str:
    """Return an id that an index keeps for as long as index.yaml has it."""
    return hashlib.sha256(yaml_of(key).encode()).hexdigest()[:12]


def _write(project: str, identifier: str, key: Key, into: Any) -> None:
    kind, ancestor, properties = key
    mode, state, direction = (
        admin.Index.AncestorMode,
        admin.Index.State,
        admin.Index.Direction,
    )
    into.project_id = project
    into.index_id = identifier
    into.kind = kind
    into.ancestor = mode.ALL_ANCESTORS if ancestor else mode.NONE
    into.state = state.READY
    for spec in properties:
        descending = spec.direction == datastore_index.DESCENDING
        into.properties.add(
            name=spec.name,
            direction=direction.DESCENDING if descending else direction.ASCENDING,
        )
