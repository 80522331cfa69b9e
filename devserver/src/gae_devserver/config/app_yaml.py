"""Reads app.yaml, or another YAML file of a service, with the SDK's own parser."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.appengine.api import appinfo

from gae_devserver.config import (
    handlers,
    includes,
    runtimes,
    service_file,
    settings,
    warnings,
)
from gae_devserver.config.handlers import StaticHandler
from gae_devserver.config.parsing import parse_yaml, read


@dataclasses.dataclass(frozen=True)
class AppConfig:
    """The configuration of one service, as far as this server uses it."""

    path: Path
    """The YAML file of the service: app.yaml, or another name."""
    folder: Path
    """The service's folder, which contains the YAML file."""
    files: tuple[Path, ...]
    """The YAML file, and all files that it includes."""
    runtime: str
    python: tuple[int, int] | None
    """The Python that `runtime` names, such as (3, 13); None: any Python 3."""
    service: str
    entrypoint: str | None
    env_variables: Mapping[str, str]
    app_engine_apis: bool
    inbound_services: frozenset[str]
    static_handlers: tuple[StaticHandler, ...]
    warnings: tuple[str, ...]
    """A sentence for each setting or file that has no effect on this server."""
    without_effect: tuple[str, ...] = ()
    """Settings that need no sentence of their own."""
    version: str | None = None
    memory_mb: int = 384
    scaling: str = "automatic"
    """"automatic", "manual" or "basic"."""


# memory of the instance classes:
# https://cloud.google.com/appengine/docs/standard#instance_classes
_MEMORY_MB = {"F1": 384, "F2": 768, "F4": 1536, "F4_1G": 3072, "B1": 384}
_MEMORY_MB |= {"B2": 768, "B4": 1536, "B4_1G": 3072, "B8": 3072}
_FIRST_LINE = "runtime: python313"


def load_app_yaml(target: Path) -> AppConfig:
    """Read the YAML file of a service.

    `target` is the service's folder, which contains app.yaml, or a YAML file of any
    name.

    Raises:
        ConfigError: a file is missing, or this server cannot use it.
    """
    path = service_file.find(target)
    text = read(path)
    runtimes.refuse_python_2(text, path)
    file = parse_yaml(text, path)
    if file.root is None:
        raise file.error(f"the file is empty. Add '{_FIRST_LINE}'.")
    python = runtimes.python_of(file)
    if getattr(file.node("libraries"), "value", None):
        raise file.error(
            "App Engine refuses libraries for a Python 3 runtime. Delete it, and list "
            "the packages in requirements.txt.",
            "libraries",
        )
    info = settings.load(
        file, appinfo.LoadSingleAppInfo, appinfo.AppInfoExternal, _FIRST_LINE
    )
    app = includes.merge(info, file)
    static_handlers = tuple(handlers.static_handlers(app))
    instance_class = info.instance_class or "F1"
    return AppConfig(
        path=path,
        folder=path.parent,
        files=app.files,
        runtime=info.runtime,
        python=python,
        service=info.service or info.module or service_file.DEFAULT,
        # the SDK's validator puts "exec" before every entrypoint, even an empty one
        entrypoint=re.sub(r"^exec\s+", "", info.entrypoint or "").strip() or None,
        env_variables=dict(info.env_variables or {}),
        app_engine_apis=bool(info.app_engine_apis),
        inbound_services=frozenset(info.inbound_services or ()),
        static_handlers=static_handlers,
        warnings=(
            *warnings.about(app, file, instance_classes=_MEMORY_MB),
            *handlers.warnings(app, static_handlers, path.parent),
        ),
        without_effect=warnings.without_effect(info),
        version=info.version,
        memory_mb=_MEMORY_MB.get(instance_class, 384),
        scaling=_scaling(info),
    )


def _scaling(info: Any) -> str:
    if info.manual_scaling:
        return "manual"
    return "basic" if info.basic_scaling else "automatic"
