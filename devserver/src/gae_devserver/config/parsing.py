"""Reads a YAML file as a tree whose settings have line numbers."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode


class ConfigError(Exception):
    """The app's configuration cannot be used; the message is for the user."""


# what the YAML parser says -> what to do
_SYNTAX: Mapping[str, str] = {
    r".*'\\t' that cannot start any token": "it has a tab, but YAML is indented with "
    "spaces. Replace the tab with spaces.",
    "mapping values are not allowed here": "its indentation is wrong, or its value "
    "contains ': '. Indent it as the settings beside it, or put quotes around the "
    "value.",
    "could not find expected ':'": "a setting has no value. Write NAME: VALUE.",
    "expected <block end>, but found.*": "its indentation is wrong. Indent it as the "
    "settings beside it.",
    "found unexpected end of stream": "a quotation mark is not closed. Close it.",
    "(expected the node content|did not find expected).*|expected ',' or .*": "a list "
    "or group is not complete. Close each [ with ] and each { with }.",
    "but found another document": "it begins a second document with ---. Delete "
    "that document.",
}
_ANCHORS = (
    "App Engine supports no YAML anchors (&name) and references (*name). Put "
    "quotes around a value that begins with & or *, or write the value out."
)
_NULL = "the value has a null character, which no program can get. Delete it."


@dataclasses.dataclass(frozen=True)
class YamlFile:
    """The content of a YAML file; `root` is None if it has no settings."""

    path: Path
    text: str
    root: Node | None

    def node(self, *keys: str | int) -> Node | None:
        """Return the value of a setting, such as ("queue", 0, "rate")."""
        found = self._find(keys)
        return found[-1][1] if len(found) == len(keys) else None

    @property
    def first_line(self) -> int:
        """Return the line with which the content begins."""
        return 1 if self.root is None else self.root.start_mark.line + 1

    def scalar(self, node: ScalarNode) -> Any:
        """Return a value as YAML 1.1 has it, such as True for yes."""
        return _yaml().constructor.construct_object(node)

    def value(self, key: str) -> str | None:
        """Return a setting at the top as it is written; None: it has no such value."""
        node = self.node(key)
        return node.value if isinstance(node, ScalarNode) and node.value else None

    def error(self, text: str, *keys: str | int) -> ConfigError:
        """Return an error about a setting, or about the whole file."""
        return ConfigError(f"{self.where(*keys)}: {text}")

    def where(self, *keys: str | int) -> str:
        """Return the file and the line of a setting, as messages show it."""
        found = self._find(keys)
        return f"{self.path}, line {found[-1][0]}" if found else str(self.path)

    def _find(self, keys: tuple[str | int, ...]) -> list[tuple[int, Node]]:
        """Return the line and the value of each key, as far as they exist."""
        found, node = [], self.root
        for key in keys:
            entries: list[tuple[Any, Node, Node]] = []
            if isinstance(node, MappingNode):
                entries = [(k.value, k, value) for k, value in node.value]
            elif isinstance(node, SequenceNode):
                entries = [(i, item, item) for i, item in enumerate(node.value)]
            # the last of two: an error about a duplicate is about that one
            last = [(k, value) for name, k, value in entries if name == key][-1:]
            if not last:
                break
            node = last[0][1]
            found.append((last[0][0].start_mark.line + 1, node))
        return found


def read(path: Path) -> str:
    """Return the text of a file."""
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8: {error}. Save it as UTF-8.") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error


def parse_yaml(text: str, path: Path) -> YamlFile:
    """Return a file's settings.

    Raises:
        ConfigError: it is not valid YAML; the message has the line.
    """
    try:
        file = YamlFile(path, text, _yaml().compose(text))
        if (anchor := _first(file.root, _has_anchor)) is not None:
            raise ConfigError(f"{path}, line {anchor.start_mark.line + 1}: {_ANCHORS}")
        if (node := _first(file.root, lambda node: "\0" in node.value)) is not None:
            raise ConfigError(f"{path}, line {node.start_mark.line + 1}: {_NULL}")
    except ConfigError:
        raise
    # ruamel.yaml raises half a dozen unrelated types for a user's mistakes
    except Exception as error:
        raise _syntax_error(error, path) from error
    return file


def _yaml() -> YAML:
    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 1)  # as in the SDK's parsers
    return yaml


def _has_anchor(node: Node) -> bool:
    """Return whether a value has an anchor; without one, none contains itself."""
    return getattr(node, "anchor", None) is not None


def _first(node: Node | None, matches: Callable[[Node], bool]) -> Node | None:
    """Return the first value in a node that matches."""
    if node is None or matches(node):
        return node
    inner: list[Node] = []
    if isinstance(node, MappingNode):
        inner = [part for entry in node.value for part in entry]
    elif isinstance(node, SequenceNode):
        inner = node.value
    return next((found for part in inner if (found := _first(part, matches))), None)


def _syntax_error(error: Exception, path: Path) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    lines = str(getattr(error, "problem", None) or error).splitlines()
    reason = lines[0] if lines else type(error).__name__
    if "found undefined alias" in reason and mark is not None:
        return ConfigError(f"{path}, line {mark.line + 1}: {_ANCHORS}")
    context = getattr(error, "context_mark", None)
    if context is not None and re.match("could not find|found unexpected end", reason):
        mark = context  # where it begins, not where the parser gave up
    where = "" if mark is None else f", line {mark.line + 1}"
    fix = "" if mark is None else " Fix this line or the one above it."
    texts = [text for sign, text in _SYNTAX.items() if re.fullmatch(sign, reason)]
    reason = texts[0] if texts else f"{reason}.{fix}"
    return ConfigError(f"{path}{where}: the file is not valid YAML: {reason}")
