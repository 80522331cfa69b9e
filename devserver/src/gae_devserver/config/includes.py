"""Merges the files that `includes` names into app.yaml, as gcloud app deploy does."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from google.appengine.api import appinfo, validation

from gae_devserver.config import settings
from gae_devserver.config.parsing import YamlFile, parse_yaml, read


@dataclasses.dataclass(frozen=True)
class Merged:
    """app.yaml with the files that it includes."""

    info: Any
    """The SDK's object, with the settings of all files."""
    files: tuple[Path, ...]
    places: tuple[str, ...]
    """The file and line of each handler."""
    empty: tuple[Path, ...]
    """Included files without settings."""
    builtins: tuple[str, ...]
    """The files and lines that set `builtins`."""


def merge(info: Any, file: YamlFile) -> Merged:
    """Read the files that app.yaml includes, and add their settings to `info`.

    Their handlers come before those of app.yaml, or after them with `position: tail`;
    their variables replace those of app.yaml.

    Raises:
        ConfigError: a file is missing, has a mistake or includes itself.
    """
    reader = _Reader(file.path.parent)
    reader.add(info, file)
    try:
        reader.follow(info, file, (file.path,))
        appinfo.AppInclude.MergeAppYamlAppInclude(info, reader.total)
    except validation.ValidationError as error:
        # joined, two valid patterns of skip_files may not be valid
        text = f"the included files cannot be merged: {error}."
        raise file.error(text, "includes") from error
    if len(info.handlers or ()) > appinfo.MAX_URL_MAPS:
        raise file.error(
            f"there are more than {appinfo.MAX_URL_MAPS} handlers with those of the "
            "included files. Merge some."
        )
    return Merged(
        info,
        tuple(reader.files),
        tuple(reader.places[id(handler)] for handler in info.handlers or ()),
        tuple(reader.empty),
        tuple(reader.builtins),
    )


class _Reader:
    """Collects what the included files have."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.total = appinfo.AppInclude()
        self.files: dict[Path, None] = {}
        self.empty: list[Path] = []
        self.builtins: list[str] = []
        self.places: dict[int, str] = {}

    def add(self, info: Any, file: YamlFile) -> None:
        """Note the places, which the SDK forgets when it merges."""
        self.files[file.path] = None
        if info.builtins:
            self.builtins.append(file.where("builtins"))
        for index, handler in enumerate(info.handlers or ()):
            self.places[id(handler)] = file.where("handlers", index)

    def follow(self, info: Any, file: YamlFile, chain: tuple[Path, ...]) -> None:
        """Read what a file includes, each file once; `chain` leads to this file."""
        for index, name in enumerate(info.includes or ()):
            keys = ("includes", index)
            path = self._find(str(name), file.path.parent)
            if path is None:
                raise file.error(
                    f"there is no file {name} in {file.path.parent}. Add it, or delete "
                    "this entry of 'includes'.",
                    *keys,
                )
            if path in chain:
                raise file.error(
                    f"{path} includes itself through this line. Delete it.", *keys
                )
            if path in self.files:
                continue
            included = parse_yaml(read(path), path)
            if included.root is None:
                self.files[path] = None
                self.empty.append(path)
                continue
            more = settings.load(
                included, appinfo.LoadAppInclude, appinfo.AppInclude, "handlers:"
            )
            self.add(more, included)
            appinfo.AppInclude.MergeAppIncludes(self.total, more)
            self.follow(more, included, (*chain, path))

    def _find(self, name: str, folder: Path) -> Path | None:
        """Return an included file; a folder stands for the include.yaml in it."""
        for parent in (folder, self._folder):
            path = Path(os.path.normpath(parent / name))
            for file in (path, path / "include.yaml"):
                if file.is_file():
                    return file
        return None
