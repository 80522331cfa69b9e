"""The options in the table [tool.gae-devserver] of pyproject.toml, by their names."""

import argparse
import dataclasses
import difflib
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from gae_devserver.command_line import token, values

NAME = "gae-devserver"
_NOT_IN_A_FILE = ("help", "version", "pyproject")
_NUMBERS = (values.port, values.seconds)


class TableError(Exception):
    """The table cannot be used; the message is for the user."""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table, as it is in the file."""

    file: Path
    content: Mapping[str, Any]

    @property
    def where(self) -> str:
        """What stands before a message about it."""
        return f"{self.file}, [tool.{NAME}]: "

    @property
    def apps(self) -> list[Path]:
        """The apps that it names."""
        named = self.content.get("apps", [])
        if not _is_list_of_texts(named):
            raise self._wrong("apps", "a list of strings", named)
        return [values.path(str(self._path(app))) for app in named]

    def arguments(self, actions: Collection[argparse.Action]) -> list[str]:
        """Return the same options as they are on the command line.

        Raises:
            TableError: a key is unknown, or its value has another type.
        """
        by_key = {
            action.option_strings[0].removeprefix("--"): action
            for action in actions
            if action.option_strings and action.dest not in _NOT_IN_A_FILE
        }
        found: list[str] = []
        for key, value in self.content.items():
            if key in by_key:
                found += self._option(key, value, by_key[key])
            elif key != "apps":
                if key == "token":
                    raise TableError(
                        f"{self.where}a file must not have the token. Set the "
                        f"environment variable {token.VARIABLE}."
                    )
                near = difflib.get_close_matches(key, [*by_key, "apps"], 1, 0.5)
                advice = f" Did you mean {near[0]}?" if near else ""
                raise TableError(f"{self.where}there is no option {key!r}.{advice}")
        return found

    def _option(self, key: str, value: Any, action: argparse.Action) -> Sequence[str]:
        if action.nargs == 0:
            if not isinstance(value, bool):
                raise self._wrong(key, "true or false", value)
            # the second name of an option that has two is its opposite
            return action.option_strings[:1] if value else action.option_strings[1:]
        if isinstance(action.default, list):
            if not _is_list_of_texts(value):
                raise self._wrong(key, "a list of strings", value)
            return [f"--{key}={one}" for one in value]
        if action.type in _NUMBERS:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise self._wrong(key, "a number", value)
        elif not isinstance(value, str):
            raise self._wrong(key, "a string", value)
        elif action.type is values.path:
            value = self._path(value)
        elif action.type is values.python:
            path = self._path(value)
            # otherwise it is a program in PATH, such as python3.13
            value = path if "/" in value or path.is_dir() else value
        return [f"--{key}={value}"]

    def _path(self, text: str) -> Path:
        """Return the path that a text means in this file."""
        # Path's expanduser raises RuntimeError
        return self.file.parent / os.path.expanduser(text)  # noqa: PTH111

    def _wrong(self, key: str, expected: str, value: Any) -> TableError:
        return TableError(f"{self.where}{key} must be {expected}, not {value!r}")


def _is_list_of_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def find(apps: Sequence[Path]) -> Table | None:
    """Return the table in the current folder, or beside the first app, if there is one.

    Raises:
        TableError: a file with the table cannot be read.
    """
    beside = [app if app.is_dir() else app.parent for app in apps[:1]]
    for folder in (Path(), *beside):
        if (table := _read(folder / "pyproject.toml")) is not None:
            return table
    return None


def _read(file: Path) -> Table | None:
    try:
        text = file.read_bytes()
    except OSError:
        return None
    if NAME.encode() not in text:
        return None  # what else is wrong with it is no concern of this server

    import tomllib  # most starts do without

    try:
        tool = tomllib.loads(text.decode()).get("tool", {})
    except ValueError as error:  # also of an encoding other than UTF-8
        raise TableError(f"{file}: {error}") from None
    content = tool.get(NAME) if isinstance(tool, dict) else None
    if content is None:
        return None
    table = Table(file, content)
    if not isinstance(content, dict):
        raise TableError(f"{table.where}this must be a table, not {content!r}")
    return table
