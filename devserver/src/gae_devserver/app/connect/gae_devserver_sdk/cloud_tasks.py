"""Delays the SDK's import of the client of Cloud Tasks until the app needs it.

Since 3.1.0 the SDK imports that client with the task queue, also where the variable
that enables it is not set. The import takes longer than that of everything else in the
SDK.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import importlib
import os
from collections.abc import Iterator, Sequence
from importlib.machinery import PathFinder
from types import ModuleType, SimpleNamespace
from typing import Any

_VARIABLE = "APPENGINE_USE_CLOUDTASK_PUSH_QUEUE"
_DELAYED = {
    "google_exceptions": "google.api_core.exceptions",
    "google_retry": "google.api_core.retry",
    "tasks_v2": "google.cloud.tasks_v2",
    "tasks_v2beta3": "google.cloud.tasks_v2beta3",
    "code_pb2": "google.rpc.code_pb2",
}
"""The names of modules in the SDK's module -> what it imports, in the same order."""
_ERROR = "_CLOUD_TASKS_IMPORT_ERROR"


class Delayed(ModuleType):
    """Stands for a module, and imports it for its first attribute."""

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the module itself."""
        return getattr(importlib.import_module(self.__name__), name)

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute of the module itself, as a test that mocks it does."""
        setattr(importlib.import_module(self.__name__), name, value)

    def __delattr__(self, name: str) -> None:
        """Delete an attribute of the module itself."""
        delattr(importlib.import_module(self.__name__), name)

    def __dir__(self) -> list[str]:
        """Return the names in the module itself."""
        return dir(importlib.import_module(self.__name__))


@contextlib.contextmanager
def delaying(module: ModuleType) -> Iterator[None]:
    """While the SDK's `cloudtask` is executed, delay the imports that it has itself."""
    if str(os.environ.get(_VARIABLE, "")).lower() == "true" or not all(
        map(_is_installed, _DELAYED.values())
    ):
        yield
        return
    own = builtins.__import__
    delayed = {name: Delayed(name) for name in _DELAYED.values()}

    # with the names of Python's own arguments
    def import_(
        name: str,
        globals: Any = None,  # noqa: A002
        locals: Any = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        if globals is vars(module) and fromlist and not level:
            found = {each: delayed.get(f"{name}.{each}") for each in fromlist}
            if all(found.values()):
                return SimpleNamespace(**found)
        return own(name, globals, locals, fromlist, level)

    # sys.modules stays as it is, because the app's own imports must get the real ones
    builtins.__import__ = import_
    try:
        yield
    finally:
        if builtins.__import__ is import_:
            builtins.__import__ = own
    _complete(module)


def _complete(module: Any) -> None:
    """Import what is delayed when the SDK is about to use it."""
    variables = vars(module)
    enabled = variables.get("is_cloudtask_push_queue_enabled")
    if (
        enabled is None
        or variables.get(_ERROR, "") is not None
        or not all(isinstance(variables.get(name), Delayed) for name in _DELAYED)
    ):
        # another release of the SDK
        for name, value in list(variables.items()):
            if isinstance(value, Delayed):
                variables[name] = importlib.import_module(value.__name__)
        return

    @functools.wraps(enabled)
    def is_cloudtask_push_queue_enabled() -> Any:
        result = enabled()
        if result and any(isinstance(variables[name], Delayed) for name in _DELAYED):
            _load(variables)
            return enabled()
        return result

    module.is_cloudtask_push_queue_enabled = is_cloudtask_push_queue_enabled


def _load(variables: dict[str, Any]) -> None:
    """Do what the SDK does on import."""
    found: dict[str, ModuleType | None]
    try:
        found = {name: importlib.import_module(of) for name, of in _DELAYED.items()}
    except ImportError as error:
        found = dict.fromkeys(_DELAYED, None)
        variables[_ERROR] = error
    for name, value in found.items():
        # the app may have replaced it meanwhile
        if isinstance(variables[name], Delayed):
            variables[name] = value


def _is_installed(name: str) -> bool:
    """Return whether a module can be found, without an import of its packages."""
    path = None
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:count]), path)
        if spec is None:
            return False
        path = spec.submodule_search_locations
    return True
