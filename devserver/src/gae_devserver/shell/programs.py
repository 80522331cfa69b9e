"""The commands that start a shell or a script on the app's Python."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

_BOOTSTRAP = Path(__file__).with_name("bootstrap.py")


class ScriptError(Exception):
    """There is no such script; the message is for the user."""


@dataclasses.dataclass(frozen=True)
class Program:
    """What the app's Python runs."""

    arguments: tuple[str, ...]
    """The arguments of the interpreter."""
    folder: Path | None = None
    """The folder in which it starts; None: the current one."""


def shell(app_folder: Path, project: str, storage: Path | None) -> Program:
    """Return a shell in the app's folder."""
    folder = app_folder.resolve()
    where = storage or "in memory"
    banner = f"{folder.name} (project {project}, storage {where})"
    return Program(_bootstrap("shell", folder, banner), folder)


def script(app_folder: Path, words: Sequence[str], is_module: bool) -> Program:
    """Return a script, or a module, with its arguments.

    Raises:
        ScriptError: neither the current folder nor that of the app has the script.
    """
    if is_module:
        return Program(_bootstrap("run", app_folder.resolve(), "-m", *words))
    name, *arguments = words
    for path in (Path(name), app_folder / name):
        if path.is_file():
            return Program(_bootstrap("run", app_folder.resolve(), path, *arguments))
    if Path(name).is_dir():
        raise ScriptError(
            f"{name} is a folder, not a script. If it is a service, pass its YAML file."
        )
    raise ScriptError(
        f"There is no script {name} in the current folder, and none in {app_folder}."
    )


def _bootstrap(*words: str | Path) -> tuple[str, ...]:
    return tuple(map(str, (_BOOTSTRAP, *words)))
