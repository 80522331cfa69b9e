"""The cache of the apps' environments that a test uses."""

import os
from pathlib import Path

import platformdirs

_OF_INSTALLERS = {"UV_CACHE_DIR": "uv", "PIP_CACHE_DIR": "pip"}


def own_cache(folder: Path) -> dict[str, str]:
    """Return variables for a cache in a folder; the installers keep their downloads."""
    kept = {
        name: os.environ.get(name, str(platformdirs.user_cache_path(installer)))
        for name, installer in _OF_INSTALLERS.items()
    }
    return kept | {"XDG_CACHE_HOME": str(folder)}
