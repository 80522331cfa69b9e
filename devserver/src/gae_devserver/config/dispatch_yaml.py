"""Reads dispatch.yaml with the SDK's own parser."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gae_devserver.config import settings
from gae_devserver.config.parsing import YamlFile, parse_yaml, read
from gae_devserver.config.targets import Versions, which_runs

# https://cloud.google.com/appengine/docs/standard/reference/dispatch-yaml#limits
_MOST_RULES = 20
_MOST_CHARACTERS = 100
INTERNAL = "/_ah/"
"""Begins the paths that no rule is for."""


@dataclasses.dataclass(frozen=True)
class DispatchRule:
    """One rule: which service answers the requests to these hosts and paths."""

    host: str
    """A host name; one that begins with * stands for all that end so."""
    path: str
    """A path; one that ends with * stands for all that begin so."""
    service: str
    where: str
    """The file and the line."""

    def __str__(self) -> str:
        """Return what the banner and the log show."""
        return f"{self.host}{self.path} to {self.service}"

    def matches(self, host: str, path: str) -> bool:
        """Return whether this rule is for a request to a host, without its port."""
        return self.matches_host(host) and (
            path.startswith(self.path[:-1])
            if self.path.endswith("*")
            else path == self.path
        )

    def matches_host(self, host: str) -> bool:
        """Return whether this rule is for some requests to a host."""
        if self.host.startswith("*"):
            return host.lower().endswith(self.host[1:])
        return host.lower() == self.host

    def covers(self, other: "DispatchRule") -> bool:
        """Return whether this rule is for all requests that another one is for."""
        # a pattern without its * is the shortest name that it stands for
        return (
            self.matches(other.host.lstrip("*"), other.path.rstrip("*"))
            and other.host.startswith("*") <= self.host.startswith("*")
            and other.path.endswith("*") <= self.path.endswith("*")
        )


@dataclasses.dataclass(frozen=True)
class Dispatch:
    """What dispatch.yaml describes."""

    rules: tuple[DispatchRule, ...] = ()
    warnings: tuple[str, ...] = ()
    """A sentence for what App Engine refuses, and for what has no effect here."""


def load_dispatch_yaml(path: Path, services: Versions) -> Dispatch:
    """Read dispatch.yaml; without one, there are no rules.

    `services` are those that run, because a rule names one.

    Raises:
        ConfigError: App Engine cannot use it.
    """
    if not path.exists():
        return Dispatch()
    file = parse_yaml(read(path), path)
    if file.root is None:
        raise file.error("the file is empty. Delete it, or write 'dispatch: []'.")
    # import late: an app without dispatch.yaml starts without it
    from gae_devserver.config.dispatch_schema import DispatchInfo, parse

    info = settings.load(file, parse, DispatchInfo, "dispatch:")
    entries = info.dispatch or []
    rules = [
        DispatchRule(*_split(entry.url), entry.service, file.where("dispatch", index))
        for index, entry in enumerate(entries)
    ]
    warnings = [*_about_file(info, file)]
    for index, (rule, entry) in enumerate(zip(rules, entries, strict=True)):
        is_old = entry.GetUnnormalized("module") is not None
        found = _about_rule(rule, rules[:index], services, is_old=is_old)
        warnings += (
            f"{file.where('dispatch', index, name)}: {text}" for name, text in found
        )
    return Dispatch(tuple(rules), tuple(warnings))


def _split(url: str) -> tuple[str, str]:
    """Return the host and the path of a pattern."""
    host, _, path = url.partition("/")
    return host, f"/{path}"


def _about_file(info: Any, file: YamlFile) -> Iterator[str]:
    yield from settings.refused_settings(info, file)
    if (count := len(info.dispatch or ())) > _MOST_RULES:
        where = file.where("dispatch", _MOST_RULES)
        yield f"{where}: there are {count} rules, and App Engine allows {_MOST_RULES}."


def _about_rule(
    rule: DispatchRule,
    earlier: Sequence[DispatchRule],
    services: Versions,
    *,
    is_old: bool,
) -> Iterator[tuple[str, str]]:
    """Yield settings of a rule, and what is wrong with each."""
    if is_old:
        yield "module", "'module' is the old name of 'service'. Rename it."
    for what, text in (("host", rule.host), ("path", rule.path)):
        if (length := len(text)) > _MOST_CHARACTERS:
            most = f"and App Engine allows {_MOST_CHARACTERS}."
            yield "url", f"the {what} has {length} characters, {most}"
    if "-dot-" in rule.host:
        dots = rule.host.replace("-dot-", ".")
        yield "url", f"no host has -dot- in a rule. Write '{dots}{rule.path}'."
    if "?" in rule.path:
        yield "url", "a rule is for paths without parameters. Delete the ?."
    if rule.path.startswith(INTERNAL):
        what = f"App Engine applies no rule to paths that begin with {INTERNAL}"
        yield "url", f"{what}. Delete this one."
    elif covering := next((other for other in earlier if other.covers(rule)), None):
        first = f"the rule in {covering.where.rpartition(', ')[2]} matches first"
        yield "url", f"{first}. Move this one up, or delete it."
    elif rule.service not in services:
        error = f"requests to '{rule.host}{rule.path}' get an error"
        runs = which_runs(services, rule.service)
        why = f"their service is '{rule.service}', and this server {runs}"
        yield "service", f"{error}: {why}"
