"""app.yaml and queue.yaml in a folder, and what the server reads or refuses there."""

from pathlib import Path

import pytest

from gae_devserver.config.application import Application, load
from gae_devserver.config.parsing import ConfigError

LEAST = "runtime: python313\n"
"""The least that app.yaml has."""


def write(folder: Path, app_yaml: str, queue_yaml: str | None = None) -> Path:
    """Make an app's folder with these files."""
    (folder / "app.yaml").write_text(app_yaml)
    if queue_yaml is not None:
        (folder / "queue.yaml").write_text(queue_yaml)
    return folder


def loaded(folder: Path, app_yaml: str, queue_yaml: str | None = None) -> Application:
    """Write the files and read them."""
    return load([write(folder, app_yaml, queue_yaml)])


def error_of(folder: Path, app_yaml: str, queue_yaml: str | None = None) -> str:
    """Return the message for files that cannot be used."""
    with pytest.raises(ConfigError) as caught:
        loaded(folder, app_yaml, queue_yaml)
    return str(caught.value)
