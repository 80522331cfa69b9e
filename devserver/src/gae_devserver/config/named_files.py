"""Sorts the files that the user names: those of services, and those that they share."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from gae_devserver.config import service_file
from gae_devserver.config.parsing import ConfigError

SHARED = ("queue.yaml", "cron.yaml", "index.yaml", "dispatch.yaml")
"""The files that all services share."""


@dataclasses.dataclass(frozen=True)
class NamedFiles:
    """What the user names."""

    services: tuple[Path, ...]
    shared: dict[str, Path]
    """Their usual names, and their paths."""
    others: tuple[Path, ...]
    """Those without a runtime, which a service may include."""
    ignored: tuple[str, ...]
    """The usual names of files without effect on this server."""


def sort(targets: Sequence[Path]) -> NamedFiles:
    """Return the files that the user names; each must exist, and occur once.

    A target is a folder with app.yaml, the YAML file of a service, or one of the
    files that services share.

    Raises:
        ConfigError: a file is missing or named twice, or none is a service's.
    """
    found: dict[Path, Path] = {}
    services: list[Path] = []
    shared: dict[str, Path] = {}
    others: list[Path] = []
    ignored: list[str] = []
    for target in targets:
        name = target.name
        if target.suffix == ".yml":  # gcloud app deploy accepts both
            name = target.with_suffix(".yaml").name
        is_shared = name in service_file.OTHER_FILES and target.is_file()
        path = target if is_shared else service_file.find(target)
        if (same := found.setdefault(path.resolve(), target)) is not target:
            also = f", also as {same}" if same != target else ""
            raise ConfigError(f"{target} is passed twice{also}. Pass it once.")
        if name in shared:
            raise ConfigError(
                f"{shared[name]} and {path} cannot be used together, because an app "
                f"has only one {name}. Pass one of them."
            )
        if not is_shared:
            # a file alone is meant as a service's, and gets an error about its text
            is_service = path.name == "app.yaml" or len(targets) == 1
            is_service = is_service or service_file.is_service(path)
            (services if is_service else others).append(path)
        elif name in SHARED:
            shared[name] = path
        else:
            ignored.append(name)
    if not services:
        raise service_file.not_a_service(targets[0])
    return NamedFiles(tuple(services), shared, tuple(others), tuple(ignored))
