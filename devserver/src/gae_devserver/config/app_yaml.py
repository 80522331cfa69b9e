"""Reads app.yaml with the SDK's own parser."""

import dataclasses
import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from google.appengine.api import appinfo

from gae_devserver.config import warnings
from gae_devserver.config.parsing import ConfigError, parse, read
from gae_devserver.config.queue_yaml import DEFAULT_QUEUE, QueueConfig, load_queue_yaml


@dataclasses.dataclass(frozen=True)
class StaticHandler:
    """One entry of `handlers`: a pattern of URLs, and the file or folder behind them.

    Without `file_template`, it is a `script` entry: its URLs go to the app, and later
    entries do not apply to them.
    """

    url: re.Pattern[str]
    folder: str = ""
    """Where the files are, relative to the app's folder; no request leaves it."""
    file_template: str | None = None
    """The file's path in `folder`, with the groups of `url` as \\1."""
    upload: re.Pattern[str] | None = None
    mime_type: str | None = None
    max_age: int | None = None
    """Seconds that a browser may cache the file; None: not configured."""
    http_headers: tuple[tuple[str, str], ...] = ()
    require_matching_file: bool = False


@dataclasses.dataclass(frozen=True)
class AppConfig:
    """An app's configuration, as far as this server uses it."""

    folder: Path
    runtime: str
    service: str
    entrypoint: str | None
    env_variables: Mapping[str, str]
    app_engine_apis: bool
    warmup: bool
    static_handlers: tuple[StaticHandler, ...]
    queues: tuple[QueueConfig, ...]
    warnings: tuple[str, ...]
    """A sentence for each setting or file that has no effect on this server."""
    version: str | None = None
    memory_mb: int = 384


# memory of the instance classes:
# https://cloud.google.com/appengine/docs/standard#instance_classes
_MEMORY_MB = {"F2": 768, "F4": 1536, "F4_1G": 3072}
_MEMORY_MB |= {"B2": 768, "B4": 1536, "B4_1G": 3072, "B8": 3072}


def load(folder: Path) -> AppConfig:
    """Read app.yaml and queue.yaml.

    Raises:
        ConfigError: a file is missing, or this server cannot use it.
    """
    app = load_app_yaml(folder)
    return dataclasses.replace(app, queues=load_queue_yaml(folder))


def load_app_yaml(folder: Path) -> AppConfig:
    """Read app.yaml alone, which is enough to start the app."""
    path = app_yaml_in(folder)
    text = read(path)
    info = parse(appinfo.LoadSingleAppInfo, text, path)
    if info.runtime is None:
        raise ConfigError(f"{path}: runtime is missing. Add: runtime: python313")
    if info.env or not re.fullmatch(r"python3\d*", info.runtime):
        given = f"env: {info.env}" if info.env else f"runtime: {info.runtime}"
        old = info.runtime.startswith("python2")
        more = f" For the other changes, see {warnings.GUIDE}." if old else ""
        raise ConfigError(
            f"{path}: this server cannot run {given}. It runs apps of the standard "
            "environment with a Python 3 runtime, for example runtime: python313."
            f"{more}"
        )
    return AppConfig(
        folder=folder,
        runtime=info.runtime,
        service=info.service or info.module or "default",
        # the SDK's validator puts "exec" before every entrypoint
        entrypoint=info.entrypoint and re.sub(r"^exec\s+", "", info.entrypoint),
        env_variables=dict(info.env_variables or {}),
        app_engine_apis=bool(info.app_engine_apis),
        warmup="warmup" in (info.inbound_services or ()),
        static_handlers=tuple(_static_handlers(info, path)),
        queues=(DEFAULT_QUEUE,),
        warnings=tuple(warnings.about(info, path, text)),
        version=info.version,
        memory_mb=_MEMORY_MB.get(info.instance_class or "", 384),
    )


def app_yaml_in(folder: Path) -> Path:
    """Return the path of the app.yaml in a folder."""
    if folder.is_file():
        raise ConfigError(
            f"{folder} is a file, not a folder. Pass the app's folder: {folder.parent}"
        )
    if not folder.is_dir():
        raise ConfigError(
            f"There is no folder {folder}. Pass the folder that contains app.yaml."
        )
    path = folder / "app.yaml"
    if not path.is_file():
        raise ConfigError(
            f"There is no app.yaml in {folder}. Pass the folder that contains it."
        )
    return path


def _static_handlers(info: Any, path: Path) -> Iterator[StaticHandler]:
    """Yield the entries of `handlers` in order: the first that matches is used."""
    for handler in info.handlers or []:
        kind = handler.GetHandlerType()
        url, folder, template, upload = handler.url or "", "", None, None
        if kind == appinfo.HANDLER_STATIC_DIR:
            folder = handler.static_dir.rstrip("/")
            url = url.rstrip("/") + "/(?P<file_in_static_dir>.*)"
            template = r"\g<file_in_static_dir>"
        elif kind == appinfo.HANDLER_STATIC_FILES:
            upload = handler.upload
            # the part before the first group is the same for all URLs
            folder = posixpath.dirname(handler.static_files.partition("\\")[0])
            template = handler.static_files.removeprefix(folder).lstrip("/")
        if folder.startswith("/") or ".." in folder.split("/"):
            raise ConfigError(
                f"{path}: {folder} is outside the app's folder. Static files must be "
                "inside it."
            )
        expiration = handler.expiration or info.default_expiration
        try:
            pattern = re.compile(url)
            groups = [int(n) for n in re.findall(r"\\(\d+)", template or "")]
            if max(groups, default=0) > pattern.groups:
                raise re.error(f"{template} refers to a group that url does not have")
            yield StaticHandler(
                url=pattern,
                folder=folder,
                file_template=template,
                upload=None if upload is None else re.compile(upload),
                mime_type=handler.mime_type,
                max_age=appinfo.ParseExpiration(expiration) if expiration else None,
                http_headers=tuple((handler.http_headers or {}).items()),
                require_matching_file=bool(handler.require_matching_file),
            )
        except re.error as error:
            raise ConfigError(f"{path}: handler {handler.url}: {error}") from error
