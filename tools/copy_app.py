"""Copies an app to a folder of its own, with `shared` in it."""

from __future__ import annotations

import fnmatch
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tools.arguments import REPOSITORY

if TYPE_CHECKING:
    import nox


def copy_for_user(session: nox.Session, app: str, folder: Path) -> None:
    """Copy an app to a new folder; end the session with a line if that cannot be."""
    try:
        if os.path.lexists(folder) and any(folder.iterdir()):
            session.error(f"{folder} is not empty. Name a new folder")
        for source in _sources(app):
            if Path(os.path.realpath(folder)).is_relative_to(source.resolve()):
                session.error(
                    f"{folder} is in {source}, which is copied. Name one elsewhere"
                )
        copy_app(app, folder)
    except OSError as error:
        session.error(f"cannot copy to {folder}: {error}")
    session.log(f"copied {app}_app to {folder}")


def copy_app(app: str, folder: Path) -> None:
    """Copy an app to a folder that is empty or not there, `shared` as a folder.

    Whatever became of the link: git on Windows makes a text file of it.
    """
    shared, own = _sources(app)

    def left_out(inside: str, names: list[str]) -> set[str]:
        # what is hidden: caches, the settings of editors, environments, keys
        unwanted = {x for x in names if x.startswith(".") and x != ".gcloudignore"}
        unwanted |= {"__pycache__", *fnmatch.filter(names, "*.pyc")}
        if Path(inside) == own:
            unwanted |= {"env", "venv", "shared"}  # `shared` is copied by itself
        return unwanted

    for source, target in ((shared, folder / "shared"), (own, folder)):
        shutil.copytree(source, target, ignore=left_out, dirs_exist_ok=True)


def _sources(app: str) -> tuple[Path, Path]:
    """Return the folders that a copy of an app is made of: `shared` and its own."""
    return REPOSITORY / "shared", REPOSITORY / f"{app}_app"
