"""Copies a sample to a folder of its own, with `shared` in it."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tools.arguments import REPOSITORY

if TYPE_CHECKING:
    import nox

LIBRARIES = ("bundled", "cloud")
"""The NDB libraries with which an app can store its counter."""

BACKENDS = ("bundled", "cloud")
"""The services that can hold an app's tasks: the bundled one, or Cloud Tasks."""


def copy_for_user(
    session: nox.Session, app: str, folder: Path, ndb: str, tasks: str
) -> None:
    """Copy an app to a new folder; end the session if that is not possible."""
    try:
        if os.path.lexists(folder) and any(folder.iterdir()):
            session.error(f"{folder} exists and is not empty. Name a new folder")
        for source in _sources(app):
            if Path(os.path.realpath(folder)).is_relative_to(source.resolve()):
                session.error(
                    f"{folder} is inside {source}, which would be copied too. "
                    "Name a folder elsewhere"
                )
        copy_app(app, folder, ndb, tasks)
    except OSError as error:
        session.error(f"cannot copy to {folder}: {error}")
    session.log(f"copied {app}_app to {folder}")


def copy_app(
    app: str, folder: Path, ndb: str = "bundled", tasks: str = "bundled"
) -> None:
    """Copy an app, with `shared` as a folder, to a folder that is new or empty.

    `shared` is copied from the root of the repository, not through the app's link: git
    on Windows writes a text file instead of the link. `ndb` is one of LIBRARIES,
    `tasks` one of BACKENDS.
    """
    shared, own = _sources(app)

    def left_out(inside: str, names: list[str]) -> set[str]:
        # hidden files are caches, editors' settings, environments or secrets
        unwanted = {x for x in names if x.startswith(".") and x != ".gcloudignore"}
        unwanted |= {"__pycache__", *fnmatch.filter(names, "*.pyc")}
        if Path(inside) == own:
            unwanted |= {"env", "venv", "shared"}
        return unwanted

    for source, target in ((shared, folder / "shared"), (own, folder)):
        shutil.copytree(source, target, ignore=left_out, dirs_exist_ok=True)
    if ndb == "cloud":
        module = folder / "shared" / "counter_cloud_ndb.py"
        module.replace(module.with_name("counter.py"))
    if tasks == "cloud":
        _use_cloud_tasks(folder)


def _use_cloud_tasks(folder: Path) -> None:
    """Change the settings of a copy so that its tasks go to Cloud Tasks."""
    lock = (REPOSITORY / "requirements-lock.txt").read_text()
    (pin,) = re.findall(r"(?m)^google-cloud-tasks==\S+", lock)
    for name, line in (
        ("app.yaml", '  APPENGINE_USE_CLOUDTASK_PUSH_QUEUE: "true"\n'),
        ("requirements.txt", f"{pin}\n"),
    ):
        with (folder / name).open("a") as file:  # env_variables is the last of app.yaml
            file.write(line)
    # on Python 3.13 and newer, the SDK's threads do not know the project
    settings = folder / "app.yaml"
    runtime = re.sub(r"(?m)^runtime: .*$", "runtime: python312", settings.read_text())
    settings.write_text(runtime)
    shutil.copy(REPOSITORY / "tools" / "cron.yaml", folder)


def _sources(app: str) -> tuple[Path, Path]:
    """Return the folders that a copy consists of: `shared`, and the app's own."""
    return REPOSITORY / "shared", REPOSITORY / f"{app}_app"
