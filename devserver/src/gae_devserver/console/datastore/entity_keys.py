"""Finds the database and the entity that a request to the console names."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

from aiohttp import web

from gae_devserver.console.datastore.typed_keys import TypedError, key_in
from gae_devserver.datastore.encoding import Path, path_of
from gae_devserver.datastore.property_index import Row
from gae_devserver.datastore_v1.databases import Database, Databases
from gae_devserver.datastore_v1.keys import Partition
from gae_devserver.rpc.errors import RpcError


class Address(NamedTuple):
    """Where an entity is, or could be."""

    database: Database
    namespace: str
    path: Path
    reference: Any
    """The key, as the database writes it."""

    def row(self) -> Row | None:
        """Return the entity; None if there is none."""
        return self.database.store.row(self.namespace, self.path)

    def stored(self) -> Row:
        """Return the entity.

        Raises:
            web.HTTPNotFound: there is none.
        """
        row = self.row()
        if row is None:
            raise web.HTTPNotFound(text="There is no entity with this key (any more).")
        return row


def database_named(databases: Databases, query: Mapping[str, str]) -> Database:
    """Return the database that a query string names, or the default one.

    Raises:
        web.HTTPNotFound: there is no such database.
    """
    name = query.get("database", "")
    database = databases.named.get(name)
    if database is None:
        raise web.HTTPNotFound(text=f"There is no database {name!r}.")
    return database


def database_for(databases: Databases, key: Any) -> Database:
    """Return the database of a key of this project, which is made if it is new.

    Raises:
        RpcError: no database can have this name.
    """
    own = databases.named[""].partition
    wanted = SimpleNamespace(project_id=own.project, database_id=key.database_id)
    return databases.get(Partition.of(wanted, own.app_id))


def address_in(databases: Databases, urlsafe: str) -> Address:
    """Return the address in a key that either library has made.

    Raises:
        web.HTTPBadRequest: the text is no complete key of this project.
        web.HTTPNotFound: there is no such database.
    """
    try:
        key = key_in(urlsafe)
        database = database_named(databases, {"database": key.database_id})
        return address_of(database, key)
    except (TypedError, RpcError) as error:
        raise web.HTTPBadRequest(text=f"The key is not valid: {error}.") from None


def address_of(database: Database, key: Any) -> Address:
    """Return the address of a complete key in a database.

    Raises:
        TypedError: it is not complete, or of another project.
        RpcError: its namespace is not valid.
    """
    partition = database.partition
    # Cloud NDB writes "demo" where the bundled NDB writes "dev~demo".
    if key.app.rpartition("~")[2] != partition.project:
        raise TypedError(f"it is of the project {key.app!r}, not {partition.project!r}")
    last = key.path.element[-1]
    if not (last.id or last.name):
        raise TypedError("it has no id")
    partition.check_namespace(key.name_space)
    path = path_of(key.path.element)
    reference = partition.reference("", ())
    reference.CopyFrom(key)
    reference.app = partition.app_id
    return Address(database, key.name_space, path, reference)
