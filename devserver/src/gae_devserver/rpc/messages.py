"""Imports the messages of an API without the rest of its client library."""

import importlib
import importlib.util
import sys
from typing import Any


def import_types(package: str, distribution: str) -> Any:
    """Return the module of the messages, such as google.cloud.datastore_v1.types.

    A plain import of the package takes about half a second, nearly all of it for
    clients and credentials, which a server does not need.

    Raises:
        ImportError: the package is not installed; the text names its distribution.
    """
    if package in sys.modules:
        return importlib.import_module(f"{package}.types")
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ImportError(
            f"the dev server needs {distribution}, which is not installed. Run: pip "
            f"install {distribution}"
        )
    # Register the package without running its __init__, so that its types are found.
    sys.modules[package] = importlib.util.module_from_spec(spec)
    try:
        return importlib.import_module(f"{package}.types")
    finally:
        # A later import in this process gets the whole package.
        del sys.modules[package]
