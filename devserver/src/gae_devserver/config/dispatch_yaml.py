"""Reads dispatch.yaml with the SDK's own parser."""

import dataclasses
from pathlib import Path

from gae_devserver.config import settings
from gae_devserver.config.parsing import parse_yaml, read


@dataclasses.dataclass(frozen=True)
class DispatchRule:
    """One rule: which service answers the requests to these hosts and paths."""

    host: str
    """A host name, or one that begins with `*`."""
    path: str
    """A path, or one that ends with `*`."""
    service: str
    where: str
    """The file and the line."""

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


@dataclasses.dataclass(frozen=True)
class Dispatch:
    """What dispatch.yaml describes."""

    rules: tuple[DispatchRule, ...] = ()
    warnings: tuple[str, ...] = ()


def load_dispatch_yaml(path: Path) -> Dispatch:
    """Read dispatch.yaml; without one, there are no rules.

    Raises:
        ConfigError: App Engine cannot use it.
    """
    if not path.exists():
        return Dispatch()
    file = parse_yaml(read(path), path)
    if file.root is None:
        raise file.error(
            "the file is empty. Delete it, or write 'dispatch:' for no rules."
        )
    # import late: an app without dispatch.yaml starts without it
    from google.appengine.api import dispatchinfo

    info = settings.load(
        file,
        dispatchinfo.LoadSingleDispatch,
        dispatchinfo.DispatchInfoExternal,
        "dispatch:",
    )
    rules = []
    for index, entry in enumerate(info.dispatch or ()):
        url = dispatchinfo.ParsedURL(entry.url)
        rules.append(
            DispatchRule(
                url.host_pattern,
                url.path_pattern,
                entry.service or entry.module,
                file.where("dispatch", index),
            )
        )
    return Dispatch(tuple(rules))
