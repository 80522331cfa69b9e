r"""Property paths: names of properties separated by dots, in masks and transforms.

A dot or a backslash in a name is written with a backslash before it, as the Datastore
emulator reads it, or in a name between backticks, as the Firestore emulator reads it.
"""

import re
from typing import Any

from gae_devserver.datastore.encoding import KEY_PROPERTY
from gae_devserver.datastore_v1.entity_writer import check_depth
from gae_devserver.datastore_v1.keys import check_name, is_reserved
from gae_devserver.rpc.errors import check

PropertyPath = list[str]
"""The names from the property of the entity inwards; never empty."""

_NAME = r"(?:`(?:[^`\\]|\\.)+`|(?:[^.\\`]|\\[.\\`])(?:[^.\\]|\\[.\\`])*)"
_PATH = re.compile(rf"{_NAME}(?:\.{_NAME})*", re.DOTALL)
_NAMES = re.compile(_NAME, re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def parse_path(path: str, what: str) -> PropertyPath:
    """Return the names in a path; `what` says in errors where it is.

    Raises:
        InvalidArgumentError: it is no path, or has the name of no property.
    """
    check(path, "A property path must not be empty.")
    check(
        _PATH.fullmatch(path),
        f'Invalid property path "{path}". Names are separated by dots and not empty.'
        " Write a dot or backslash in a name with a backslash before it, or the name"
        " between backticks.",
    )
    names = [
        _ESCAPED.sub(r"\1", name[1:-1] if name[0] == "`" else name)
        for name in _NAMES.findall(path)
    ]
    check_depth(len(names) - 1)
    for name in names:
        check_name(name, f"{what}.name")
        check(not is_reserved(name), f'The {what}.name "{name}" is reserved.')
    return names


def mask_of(message: Any) -> list[PropertyPath] | None:
    """Return the paths of a message's property_mask; None without a mask.

    Every mask includes the key.
    """
    if not message.HasField("property_mask"):
        return None
    return [
        parse_path(path, "property_mask.property")
        for path in message.property_mask.paths
        if path != KEY_PROPERTY
    ]
