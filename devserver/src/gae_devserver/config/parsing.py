"""Reads a configuration file, and reports a mistake in one line that says where."""

import difflib
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from google.appengine.api import yaml_errors


class ConfigError(Exception):
    """The app's configuration cannot be used; the message is for the user."""


# The parser's messages -> messages that say what to do: first those about the whole
# file, then those about the line where the parser stopped.
_ABOUT_FILE: Mapping[str, str] = {
    r"EmptyConfigurationFile": "the file is empty. Add: runtime: python313",
    r"Empty queue configuration\.": "the file is empty. Delete it, or add a queue.",
    r'You must specify a "runtime" .*': "runtime is missing. Add: runtime: python313",
    r"libraries entries are only supported .*": "App Engine refuses libraries for a "
    "Python 3 runtime. Delete it, and list the packages in requirements.txt.",
}
_ABOUT_LINE: Mapping[str, str] = {
    r"Unexpected attribute '(.*)' for object of type \w+\.": "App Engine does not know "
    r"the setting '\1'.",
    r"Unable to assign .* Value '(.*)' for rate does not match .*": r"'\1' is not a "
    "rate. Write for example 5/s, 10/m or 0.",
    r"Unable to assign value '(.*)' to attribute '(\w+)':.*": r"'\1' is not a valid "
    r"value of '\2'.",
    r"Duplicate attribute '(\w+)'.*": r"the setting '\1' occurs twice. Delete one.",
    r"AssertionError": "this setting needs a text, not a list or a group of settings.",
}


def read(path: Path) -> str:
    """Return the text of a file."""
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def parse(parser: Callable[[str], Any], text: str, path: Path) -> Any:
    """Call one of the SDK's parsers.

    Raises:
        ConfigError: it failed; the message has the line.
    """
    try:
        return parser(text)
    # the SDK and ruamel.yaml raise a dozen unrelated types for a user's mistakes
    except Exception as error:
        cause = getattr(error, "cause", error)
        mark = getattr(cause, "problem_mark", None)
        if mark is None and hasattr(error, "event"):
            mark = error.event.start_mark
        where = "" if mark is None else f", line {mark.line + 1}"
        lines = str(getattr(cause, "problem", None) or cause).splitlines()
        reason = lines[0] if lines else type(cause).__name__
        if reason.endswith(":") and len(lines) > 1:
            reason += " " + lines[1].strip()
        if isinstance(error, yaml_errors.EventListenerYAMLError):
            fix = "" if mark is None else " Fix this line or the one above it."
            reason = f"the file is not valid YAML: {reason}.{fix}"
        suggestion = _suggestion(reason, parser)
        for pattern, sentence in _ABOUT_FILE.items():
            if re.fullmatch(pattern, reason):
                where, reason = "", sentence
        for pattern, sentence in _ABOUT_LINE.items():
            if match := re.fullmatch(pattern, reason):
                reason = match.expand(sentence)
        raise ConfigError(f"{path}{where}: {reason}{suggestion}") from error


def _suggestion(reason: str, parser: Callable[[str], Any]) -> str:
    """Return what to do about an unknown setting; "" for another mistake."""
    unknown = re.match(r"Unexpected attribute '(.*)' for object of type (\w+)", reason)
    if unknown is None:
        return ""
    kind = getattr(sys.modules[parser.__module__], unknown[2], None)
    known = getattr(kind, "ATTRIBUTES", ())
    near = difflib.get_close_matches(unknown[1], known, n=1)
    return f" Did you mean '{near[0]}'?" if near else " Fix its name, or delete it."
