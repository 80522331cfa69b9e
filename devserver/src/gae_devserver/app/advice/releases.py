"""Explains why an installed package does not work with another one, or with Python."""

import re
import sys
from pathlib import PurePath

from gae_devserver.app.advice.tracebacks import Traceback

_FOLDERS = ("site-packages", "dist-packages")
_NAMESPACES = ("google", "google.cloud")
_NO_NAME = re.compile(
    r"ImportError: cannot import name '(?P<name>\w+)' from '(?P<module>[\w.]+)' "
    r"\((?P<file>.+)\)$"
    r"|AttributeError: module '(?P<owner>[\w.]+)' has no attribute '\w+'"
)


def package_of(file: str) -> str | None:
    """Return the import name of the installed package that has this file, if any."""
    parts = PurePath(file).parts
    for index in range(len(parts) - 1, -1, -1):
        if parts[index] in _FOLDERS:
            return _top(PurePath(*parts[index + 1 :]).with_suffix("").parts)
    return None


def made_for_an_earlier_python(package: str, python: str) -> str:
    """Return what to do about a package that needs what Python no longer has."""
    return (
        f"The installed release of {package} is made for an earlier Python than "
        f"{python}. List a newer release in requirements.txt, or choose an earlier "
        "runtime in app.yaml. App Engine would need the same."
    )


def mismatch(traceback: Traceback) -> str | None:
    """Explain that a package uses a name that another one, or Python, does not have."""
    found = _NO_NAME.search(traceback.error)
    if found is None or traceback.mixed:
        return None
    user = package_of(traceback.frames[-1].file)
    provider = package_of(found["file"] or "")
    if user in (None, provider):
        return None
    if provider is None:
        module = found["module"] or found["owner"]
        if _top(module.split(".")) not in sys.stdlib_module_names:
            return None
        return made_for_an_earlier_python(user, "the app's")
    return (
        f"The installed releases of {user} and {provider} do not fit together: {user} "
        f"needs {found['module']}.{found['name']}. App Engine would install the same. "
        f"In requirements.txt, list a newer release of {user}, or an older one of "
        f"{provider}."
    )


def _top(parts: list[str] | tuple[str, ...]) -> str:
    name = parts[0]
    for part in parts[1:]:
        if name not in _NAMESPACES:
            break
        name = f"{name}.{part}"
    return name
