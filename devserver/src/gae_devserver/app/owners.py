"""Which services a file belongs to, for --reload."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Sources:
    """The files of one service; all paths are resolved, but for the last part."""

    root: Path
    """Its folder."""
    folders: Collection[Path]
    """What is watched for it: its folder, and the targets of the links in there."""
    settings: Collection[Path]
    """Its own YAML file, and the files which that includes."""


def by_owner(
    paths: Iterable[Path], services: Mapping[str, Sources]
) -> dict[str, set[Path]]:
    """Return the services to which some of these files belong, each with its files.

    A YAML file with settings belongs to the services that read it. Any other file
    belongs to the services in whose folder it is, but not to one that has another
    service's folder around the file.
    """
    owned: dict[str, set[Path]] = {}
    for path in paths:
        readers = {name for name, one in services.items() if path in one.settings}
        for name in readers or _around(path, services):
            owned.setdefault(name, set()).add(path)
    return owned


def _around(path: Path, services: Mapping[str, Sources]) -> set[str]:
    inner = [one.root for one in services.values() if path.is_relative_to(one.root)]
    owners = set()
    for name, one in services.items():
        around = [folder for folder in one.folders if path.is_relative_to(folder)]
        if around:
            nearest = max(around, key=lambda folder: len(folder.parts))
            if not any(
                root != nearest and root.is_relative_to(nearest) for root in inner
            ):
                owners.add(name)
    return owners
