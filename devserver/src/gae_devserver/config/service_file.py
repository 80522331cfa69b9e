"""Finds the YAML file of the service that the user names."""

import re
from collections.abc import Iterator
from pathlib import Path

from gae_devserver.config.parsing import ConfigError

OTHER_FILES = {
    "cron.yaml": "the app's cron jobs",
    "dispatch.yaml": "which service gets which request",
    "dos.yaml": "the blocked addresses",
    "index.yaml": "the datastore's indexes",
    "queue.yaml": "the app's queues",
}
"""The files of App Engine that describe no service, and what they describe."""
DEFAULT = "default"
"""The service of a file that names none."""
NOT_HERE = (
    "is not used, because this server runs only Python 3, and not App Engine's "
    "flexible environment"
)
NO_RUNTIME = "is not the YAML file of a service, because it has no runtime"
_MOST_NAMED = 4
# how their names begin
_OTHER_RUNTIMES = ("custom", "go", "java", "nodejs", "php", "ruby")


def find(target: Path) -> Path:
    """Return the YAML file of a service: `target`, or app.yaml in it.

    Raises:
        ConfigError: there is none; the message names the services that exist.
    """
    try:
        return _find(target)
    except OSError as error:
        raise ConfigError(f"{target} cannot be read: {error.strerror}.") from error


def services_in(folder: Path, below: str = "app.yaml") -> Iterator[Path]:
    """Yield the YAML files of services in a folder, and `below` in those below."""
    for path in sorted({*folder.glob("*.y*ml"), *folder.glob(f"[!.]*/{below}")}):
        if path.suffix in (".yaml", ".yml") and is_service(path):
            yield path


def is_service(path: Path) -> bool:
    """Return whether a file has a runtime, as that of a service does."""
    return _setting(path, "runtime") is not None


def runs_here(path: Path) -> bool:
    """Return whether a file is a service in Python 3 of the standard environment."""
    runtime = _setting(path, "runtime") or ""
    return runtime.startswith("python3") and not _is_flexible(path)


def is_foreign(path: Path) -> bool:
    """Return whether a file is a service in another language or environment."""
    runtime = _setting(path, "runtime") or ""
    return runtime.startswith(_OTHER_RUNTIMES) or _is_flexible(path)


def name_in(path: Path) -> str:
    """Return the service that a file describes."""
    return _setting(path, "service") or _setting(path, "module") or DEFAULT


def _is_flexible(path: Path) -> bool:
    return (_setting(path, "env") or "").startswith(("flex", "2"))


def _setting(path: Path, name: str) -> str | None:
    """Return a setting of a file that may not be valid YAML; None: it has none."""
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:  # a folder, a broken link, or a file that this user cannot read
        return None
    setting = rf"""^["']?{name}["']?[ \t]*:[ \t]*["']?([\w.-]*)"""
    found = re.search(setting, text, re.MULTILINE)
    return found[1] if found else None


def _find(target: Path) -> Path:
    if target.is_dir():
        path = target / "app.yaml"
        if path.is_file():
            return path
        folder = target if target.name else target.resolve()  # not "in .."
        raise ConfigError(f"There is no app.yaml in {folder}. {_which(target)}")
    try:
        target.stat()  # exists() hides other errors since Python 3.14
    except (FileNotFoundError, NotADirectoryError):
        near = target.with_name(f"{target.name}.yaml")
        which = f"Did you mean {near}?" if near.is_file() else _which(target.parent)
        raise ConfigError(f"There is no file or folder {target}. {which}") from None
    is_other = target.name.replace(".yml", ".yaml") in OTHER_FILES
    if is_other or target.suffix not in (".yaml", ".yml"):
        raise not_a_service(target)
    return target


def not_a_service(path: Path) -> ConfigError:
    """Return an error about a file that is no service's."""
    what = OTHER_FILES.get(path.name.replace(".yml", ".yaml"))
    if what is not None:
        reason = f"describes {what}, not a service"
    elif path.suffix in (".yaml", ".yml"):
        reason = NO_RUNTIME
    else:
        reason = "is not a YAML file"
    return ConfigError(f"{path} {reason}. {_which(path.parent)}")


def _which(folder: Path) -> str:
    """Return what to pass instead."""
    if (folder / "app.yaml").is_file():
        return f"Pass the app's folder: {folder}"
    found = [
        path.parent if path.name == "app.yaml" else path
        for path in services_in(folder, below="*.y*ml")
        if runs_here(path)
    ]
    if not found:
        return "Pass the app's folder, which contains app.yaml, or its YAML file."
    names = ", ".join(map(str, found[:_MOST_NAMED]))
    return f"Pass one or more of these: {names}" if len(found) > 1 else f"Pass {names}"
