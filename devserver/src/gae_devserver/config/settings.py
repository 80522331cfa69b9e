"""Reads settings with the SDK's own parser, and says what to do about a mistake."""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from google.appengine.api import appinfo, validation
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from gae_devserver.config.expected import about_value, innermost, shown
from gae_devserver.config.parsing import ConfigError, YamlFile

Keys = tuple[str | int, ...]
LIST_AS_TEXT = "[]"
"""What the SDK's parser makes of a list that is the value of a variable."""
_OPTIONS_OF_GCLOUD = {"application": "--project", "version": "--version"}
_USUAL = (
    "name",
    "url",
    "max_instances",
    "instances",
    "task_retry_limit",
    "job_retry_limit",
    "user_email",
)
# what the SDK says about a group of settings -> what to do
_ABOUT_GROUP: Mapping[str, str] = {
    r"Only one of .* \[(\w+)\] \(preferred\) and \[(\w+)\] \(deprecated\) .*": r"'\1' "
    r"and '\2' mean the same. Delete '\2'.",
    r"Missing required value \[(\w+)\]\.": r"'\1' is missing. Add it.",
    r"(schedule) must be specified": r"'\1' is missing. Add it.",
    r"Unknown url handler type\.[\s\S]*": "a handler has nothing that answers it. Add "
    "'script: auto', static_dir or static_files.",
    r'Missing "upload" attribute.*': "'static_files' needs 'upload', a pattern of the "
    "files to deploy. Add for example 'upload: static/.*'.",
    r'Unexpected attribute "(\w+)" for mapping type (\w+)\.': "a handler with "
    r"'\2' cannot have '\1'. Delete one of them.",
    r'You must specify a "runtime" .*': "runtime is missing. Add 'runtime: python313'.",
    r"(?s)Value '(.*)' for key in EnvironmentVariables .*": r"'\1' is not the name of "
    "a variable, which has letters, digits and _, and does not begin with a digit. "
    "Rename it.",
}


def load(file: YamlFile, parser: Callable[[str], Any], kind: type, first: str) -> Any:
    """Call one of the SDK's parsers; `first` is a line with which such a file begins.

    Raises:
        ConfigError: App Engine does not accept a setting; the message has the line.
    """
    if not isinstance(file.root, MappingNode):
        found = "a list" if isinstance(file.root, SequenceNode) else "no setting"
        raise ConfigError(
            f"{file.path}, line {file.first_line}: the file begins with {found}. It "
            f"must begin with a line such as '{first}'."
        )
    # the SDK raises a dozen unrelated types for a user's mistakes
    try:
        _check_group(file, kind, file.root, ())
        return parser(file.text)
    except ConfigError:
        raise
    except Exception as error:
        raise _group_error(error, file, ()) from error


def refused_settings(info: Any, file: YamlFile) -> Iterator[str]:
    """Yield a warning for each setting that is an option of gcloud app deploy."""
    for setting, option in _OPTIONS_OF_GCLOUD.items():
        if getattr(info, setting, None):
            yield (
                f"{file.where(setting)}: gcloud app deploy refuses the setting "
                f"'{setting}'. Delete it, and pass {option} to gcloud app deploy."
            )


def _check_group(file: YamlFile, kind: Any, node: MappingNode, keys: Keys) -> Any:
    """Return a group of settings as an object of the SDK's class `kind`."""
    group = kind()
    names: set[str] = set()
    for name_node, value_node in node.value:
        name = name_node.value
        if not isinstance(name, str):
            raise file.error("a setting has no name. Write NAME: VALUE.", *keys)
        here = (*keys, name)
        try:
            validator = group.GetValidator(name)
        except Exception as error:
            if issubclass(kind, validation.ValidatedDict):
                raise _group_error(error, file, here) from error
            raise file.error(_about_unknown(kind, name), *here) from error
        if name in names:
            raise file.error(f"the setting '{name}' occurs twice. Delete one.", *here)
        names.add(name)
        value = _check_value(file, validator, value_node, here)
        try:
            group.Set(name, value)
        except Exception as error:
            if not isinstance(value_node, ScalarNode):
                raise _group_error(error, file, here) from error
            text = about_value(kind, name, value_node.value, validator)
            raise file.error(text, *here) from error
    try:
        if kind is appinfo.URLMap and group.url is None:
            # the SDK accepts it, App Engine does not
            raise validation.MissingAttribute("url")
        group.CheckInitialized()
    except Exception as error:
        raise _group_error(error, file, keys) from error
    return group


def _check_value(file: YamlFile, validator: Any, node: Node, keys: Keys) -> Any:
    """Return the value of a setting, as the SDK's parser passes it to `validator`."""
    inner = innermost(validator)
    kind = inner.expected_type
    name = keys[-1]
    if isinstance(node, ScalarNode) and file.scalar(node) is None:
        return None
    if kind is list or (
        isinstance(inner, validation.RegexStr) and isinstance(node, SequenceNode)
    ):
        if not isinstance(node, SequenceNode):
            raise file.error(
                f"'{name}' takes a list, not {_shape(node)}. Begin each entry below it "
                "with '- '.",
                *keys,
            )
        entry = getattr(inner, "constructor", validation.TYPE_STR)
        return [
            _check_entry(file, entry, item, (*keys, i))
            for i, item in enumerate(node.value)
        ]
    if isinstance(kind, type) and issubclass(kind, validation.ValidatedBase):
        if isinstance(node, MappingNode):
            return _check_group(file, kind, node, keys)
        raise file.error(
            f"'{name}' takes settings of its own, not {_shape(node)}. Write "
            f"{_example(kind)} below it, indented and without '- '.",
            *keys,
        )
    if isinstance(node, SequenceNode) and keys[:-1] == ("env_variables",):
        return LIST_AS_TEXT
    if not isinstance(node, ScalarNode):
        raise file.error(f"'{name}' takes one value, not {_shape(node)}.", *keys)
    return file.scalar(node)


def _check_entry(file: YamlFile, entry: Any, node: Node, keys: Keys) -> Any:
    """Return an entry of a list."""
    name = keys[-2]
    if isinstance(entry, type) and issubclass(entry, validation.ValidatedBase):
        if isinstance(node, MappingNode):
            return _check_group(file, entry, node, keys)
        raise file.error(
            f"an entry of '{name}' is {_shape(node)}. Write '- {_example(entry)}'.",
            *keys,
        )
    if not isinstance(node, ScalarNode):
        raise file.error(
            f"an entry of '{name}' takes one value, not {_shape(node)}.", *keys
        )
    value = file.scalar(node)
    try:
        validation.AsValidator(entry)(value, name)
    except Exception as error:
        text = about_value(type(entry), str(name), node.value, entry, in_list=True)
        raise file.error(text, *keys) from error
    return value


def _about_unknown(kind: Any, name: str) -> str:
    """Return what to do about a setting that App Engine does not know."""
    if name.startswith("-"):
        return f"'{name}' has no space after the hyphen. Write '- {name[1:]}'."
    if kind is appinfo.AppInclude and name in appinfo.AppInfoExternal.ATTRIBUTES:
        return f"an included file cannot have '{name}'. Move it to the app's own file."
    unknown = f"App Engine does not know the setting {shown(name)}"
    inner = _settings_below(kind)
    if name in inner:
        return f"{unknown} here. It belongs in '{inner[name]}'."
    if near := difflib.get_close_matches(name, kind.ATTRIBUTES, n=1):
        return f"{unknown}. Did you mean '{near[0]}'?"
    if near := difflib.get_close_matches(name, inner, n=1, cutoff=0.75):
        return f"{unknown}. Did you mean '{near[0]}' in '{inner[near[0]]}'?"
    return f"{unknown}. Fix its name, or delete it."


def _settings_below(kind: Any) -> dict[str, str]:
    """Return the settings of the groups in a group, each with its first group."""
    found: dict[str, str] = {}
    for parent, value in kind.ATTRIBUTES.items():
        validator = innermost(validation.AsValidator(value))
        group = getattr(validator, "constructor", validator.expected_type)
        # a builtin can have any name
        if hasattr(group, "ATTRIBUTES") and group is not appinfo.BuiltinHandler:
            found = dict.fromkeys(group.ATTRIBUTES, parent) | found
    return found


def _example(kind: Any) -> str:
    """Return a setting that a group can have."""
    names = getattr(kind, "ATTRIBUTES", None) or ("NAME",)
    best = [name for name in _USUAL if name in names]
    return f"{(best or sorted(names))[0]}: VALUE"


def _shape(node: Node) -> str:
    if isinstance(node, ScalarNode):
        return shown(node.value)
    return "a list" if isinstance(node, SequenceNode) else "a group of settings"


def _group_error(error: Exception, file: YamlFile, keys: Keys) -> ConfigError:
    """Return an error for what the SDK says of a group of settings."""
    reason = str(error) or type(error).__name__
    for pattern, sentence in _ABOUT_GROUP.items():
        if match := re.fullmatch(pattern, reason):
            text = match.expand(sentence)
            break
    else:
        text = " ".join(reason.split()).rstrip(".") + ". Fix this setting."
    # the line of the last setting that the text names
    for name in reversed(re.findall(r"['\"\[](\w+)['\"\]]", text)):
        if file.node(*keys, name) is not None:
            return file.error(text, *keys, name)
    return file.error(text, *keys)
