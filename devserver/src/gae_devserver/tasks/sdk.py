"""Imports the SDK's task queue without what the server does not need of it."""

import importlib
import sys
import types

# The package's clients of Cloud Tasks, which need gRPC and google-auth, and its NDB,
# which is for tasks that an app adds in a transaction: it does without each of them.
_HIDDEN = ("google.api_core", "google.appengine.ext.ndb")
# An access token of Google Cloud comes from it, with the package requests. The app's
# process gets one, and no stub does.
_EMPTY = "google.appengine.api.app_identity._metadata_server"


def import_taskqueue() -> None:
    """Import the SDK's package, before any other module of the server does.

    What it imports besides takes longer than the package itself, and 25 MB.
    """
    # An import of a module that is None in sys.modules fails.
    replaced: dict[str, types.ModuleType | None] = dict.fromkeys(_HIDDEN)
    replaced[_EMPTY] = types.ModuleType(_EMPTY)
    replaced = {name: it for name, it in replaced.items() if name not in sys.modules}
    sys.modules.update(replaced)  # type: ignore[arg-type]
    try:
        importlib.import_module("google.appengine.api.taskqueue")
    finally:
        for name in replaced:
            del sys.modules[name]
