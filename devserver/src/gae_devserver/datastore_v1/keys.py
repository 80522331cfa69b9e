"""Checks keys of version 1, and converts them to and from version 3.

The limits and messages are those of Google's emulators.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from google.appengine.datastore import entity_bytes_pb2 as entity_pb

from gae_devserver.datastore.encoding import Path, add_path
from gae_devserver.rpc.errors import (
    InvalidArgumentError,
    PermissionDeniedError,
    check,
)

MAX_NAME_BYTES = 1500
MAX_PATH_LENGTH = 100

Address = tuple[str, Path]
"""Namespace and path, which identify an entity of a database."""

_DIMENSION = re.compile(r"[0-9A-Za-z._-]{0,100}")
_DATABASE = re.compile(r"([a-z0-9][a-z0-9-]{0,62})?")
_PROJECT = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9:.-]*")
_OTHER_PROJECT = re.compile(r"([a-z0-9][a-z0-9.-]{0,99}:)?[a-z0-9][a-z0-9-]{0,99}")
_RESERVED = re.compile(r"__.*__", re.DOTALL)


def is_reserved(name: str) -> bool:
    """Return whether only the datastore itself may use a name."""
    return _RESERVED.fullmatch(name) is not None


def check_name(name: str, what: str, taken: int = 0) -> None:
    """Check a kind, a name in a key, or the name of a property.

    Of a property in an embedded entity, the names before it have `taken` some bytes.
    """
    # Not `check`, which would need both texts for each name of each entity.
    if not name:
        raise InvalidArgumentError(f"The {what} is the empty string.")
    left = MAX_NAME_BYTES - taken
    if len(name) * 4 > left and len(name.encode()) > left:
        whole = f"flattened {what}" if taken else what
        raise InvalidArgumentError(
            f"The {whole} is longer than {MAX_NAME_BYTES} bytes."
        )


def project_of(app_id: str) -> str:
    """Return the project of an app id: "demo" for "dev~demo"."""
    return app_id.rpartition("~")[2]


def check_project(project: str, app_id: str) -> str:
    """Return the project of a request.

    Raises:
        PermissionDeniedError: this server serves another project.
        InvalidArgumentError: no project can have such a name.
    """
    if project != (own := project_of(app_id)):
        check(_PROJECT.fullmatch(project), f'"{project}" is an invalid project id.')
        raise PermissionDeniedError(
            f'This server serves only the project "{own}", not "{project}": use that'
            f" one, or start the server with --project {project}."
        )
    return project


@dataclass(frozen=True)
class Partition:
    """The project and database of a request."""

    app_id: str
    database: str

    @cached_property
    def project(self) -> str:
        """The project: "demo" where the app id is "dev~demo"."""
        return project_of(self.app_id)

    @classmethod
    def of(cls, request: Any, app_id: str) -> "Partition":
        """Return the partition of a request.

        Raises:
            PermissionDeniedError: this server serves another project.
            InvalidArgumentError: no project or database can have such a name.
        """
        database = request.database_id
        check_project(request.project_id, app_id)
        if not _DATABASE.fullmatch(database):
            raise InvalidArgumentError(f'"{database}" is an invalid database id.')
        return cls(app_id, database)

    def check_own(self, partition: Any) -> None:
        """Check that the partition_id of a key or query is in this partition."""
        if partition.project_id not in ("", self.project) or (
            partition.project_id and partition.database_id != self.database
        ):
            raise InvalidArgumentError(
                "mismatched databases within request:"
                f" {_text(self.project, self.database)} vs."
                f" {_text(partition.project_id, partition.database_id)}"
            )
        self.check_namespace(partition.namespace_id)

    def check_any(self, partition: Any) -> None:
        """Check the partition_id of a key that is a value, so it may be any other."""
        project = partition.project_id
        check(
            project in ("", self.project) or _OTHER_PROJECT.fullmatch(project),
            f'"{project}" is an invalid project id.',
        )
        database = partition.database_id
        check(
            _DIMENSION.fullmatch(database),
            f'Illegal string "{database}" in database id.',
        )
        self.check_namespace(partition.namespace_id)

    def check_namespace(self, namespace: str) -> None:
        """Check a namespace."""
        if not _DIMENSION.fullmatch(namespace):
            raise InvalidArgumentError(f'Illegal string "{namespace}" in namespace id.')

    def path(
        self, key: Any, *, complete: bool | None = True, stored: bool = False
    ) -> Path:
        """Return the sortable path of a key.

        Args:
            key: a key of version 1.
            complete: True if the last element must have an id or name, False if it must
                have neither, None if either will do. An incomplete path ends in 0.
            stored: the key is one to store an entity under, so reserved names are
                refused (source: `Key` in google/datastore/v1/entity.proto).
        """
        elements = key.path
        # Here and below, no text of an error is made before there is one.
        if not elements:
            raise InvalidArgumentError("Key path is empty.")
        if len(elements) > MAX_PATH_LENGTH:
            raise InvalidArgumentError(
                f"Key path is too long. Cannot exceed {MAX_PATH_LENGTH} elements."
            )
        flat: list[str | int] = []
        last = len(elements) - 1
        for place, element in enumerate(elements):
            kind = element.kind
            check_name(kind, "kind")
            if stored and kind[:2] == "__":
                check(not is_reserved(kind), f'The kind "{kind}" is reserved.')
            match element.WhichOneof("id_type"):
                case "name":
                    name = element.name
                    check_name(name, "key path element name")
                    if stored and name[:2] == "__":
                        check(
                            not is_reserved(name),
                            f'The key path element name "{name}" is reserved.',
                        )
                    flat += (kind, 1, name)
                case "id":
                    number = element.id
                    check(number, "Key path id is invalid. Must not be zero.")
                    flat += (kind, 0, number)
                case None:
                    check(
                        not complete and place == last,
                        "Key path element must not be incomplete: " + describe(key),
                    )
                    flat += (kind, 0, 0)
        if complete is False and flat[-1] != 0:
            raise InvalidArgumentError(
                "Key path element must not be complete: " + describe(key)
            )
        return tuple(flat)

    def address(
        self, key: Any, *, complete: bool | None = True, stored: bool = False
    ) -> Address:
        """Return the address of a key that must be in this partition."""
        self.check_own(key.partition_id)
        namespace = key.partition_id.namespace_id
        if stored and is_reserved(namespace):
            raise InvalidArgumentError(f'The namespace id "{namespace}" is reserved.')
        return namespace, self.path(key, complete=complete, stored=stored)

    def reference(self, namespace: str, path: Path) -> Any:
        """Return a key of version 3."""
        reference = entity_pb.Reference(app=self.app_id)
        if self.database:
            reference.database_id = self.database
        if namespace:
            reference.name_space = namespace
        add_path(path, reference.path.element)
        return reference

    def write_key(self, namespace: str, path: Path, into: Any) -> None:
        """Write a key of version 1 into an empty one."""
        write_key(self.project, self.database, namespace, path, into)


def write_key(
    project: str, database: str, namespace: str, path: Path, into: Any
) -> None:
    """Write a key of version 1 into an empty one."""
    partition = into.partition_id
    partition.project_id = project
    if database:
        partition.database_id = database
    if namespace:
        partition.namespace_id = namespace
    for kind, named, identifier in zip(path[::3], path[1::3], path[2::3], strict=True):
        element = into.path.add(kind=kind)
        if named or identifier:
            setattr(element, "name" if named else "id", identifier)


def describe(key: Any) -> str:
    """Return a key's path as text, for an error message."""
    elements = (
        f"{element.kind}: {element.id or element.name or ''}" for element in key.path
    )
    return f"[{', '.join(elements)}]"


def _text(project: str, database: str) -> str:
    return f"{project}#{database}" if database else project
