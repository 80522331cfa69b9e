"""What app.yaml and queue.yaml say, read with the SDK's own parsers."""

import dataclasses
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from google.appengine.api import appinfo, appinfo_errors

from devserver import not_emulated

if TYPE_CHECKING:
    from google.appengine.api import queueinfo


class ConfigError(Exception):
    """The app's configuration cannot be used; the message is for the user."""


@dataclasses.dataclass(frozen=True)
class QueueConfig:
    """One queue, as queue.yaml describes it."""

    name: str
    mode: Literal["push", "pull"] = "push"
    rate: float | None = None
    """Tasks per second; None: no limit; 0.0 holds the queue."""
    rate_text: str | None = None
    bucket_size: int = 5
    max_concurrent_requests: int | None = None
    retry_parameters: "queueinfo.RetryParameters | None" = None
    target: str | None = None
    acl: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class StaticHandler:
    """One entry of `handlers`: which URLs, and the file or folder behind them.

    Without `file_template` it is a `script` entry: its URLs go to the app, and no
    entry after it is asked.
    """

    url: re.Pattern[str]
    folder: str = ""
    """Where the files are, from the app's folder on; no request gets out of it."""
    file_template: str | None = None
    """The file's path in `folder`, with the groups of `url` as \\1."""
    upload: re.Pattern[str] | None = None
    mime_type: str | None = None
    max_age: int | None = None
    """Seconds that a browser may keep the file; None: nothing is configured."""
    http_headers: tuple[tuple[str, str], ...] = ()
    require_matching_file: bool = False


@dataclasses.dataclass(frozen=True)
class AppConfig:
    """An app's configuration, as far as a dev server can honour it."""

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
    """What the files ask for and this server does not emulate, a sentence each."""
    version: str | None = None
    memory_mb: int = 384


# memory of the instance classes:
# https://cloud.google.com/appengine/docs/standard#instance_classes
_MEMORY_MB = {"F2": 768, "F4": 1536, "F4_1G": 3072}
_MEMORY_MB |= {"B2": 768, "B4": 1536, "B4_1G": 3072, "B8": 3072}

# in place of what the parser says, which does not tell what to do
_REASONS: Mapping[type, str] = {
    appinfo_errors.EmptyConfigurationFile: "it is empty. Add: runtime: python313",
    appinfo_errors.MissingRuntimeError: "there is no runtime. Add: runtime: python313",
    appinfo_errors.RuntimeDoesNotSupportLibraries: "libraries is refused for a Python "
    "3 runtime. Delete it; packages stand in requirements.txt.",
}
_DEFAULT_QUEUE = QueueConfig("default")


def load(folder: Path) -> AppConfig:
    """Read app.yaml and queue.yaml.

    Raises:
        ConfigError: a file is missing, cannot be parsed or asks for the impossible.
    """
    app = load_app_yaml(folder)
    return dataclasses.replace(app, queues=load_queue_yaml(folder))


def load_app_yaml(folder: Path) -> AppConfig:
    """Read app.yaml alone: all that is needed to start the app."""
    path = app_yaml_in(folder)
    text = _read(path)
    info = _parse(appinfo.LoadSingleAppInfo, text, path)
    if info.runtime is None:
        raise ConfigError(f"{path}: there is no runtime. Add: runtime: python313")
    if info.env or not re.fullmatch(r"python3\d*", info.runtime):
        given = f"env: {info.env}" if info.env else f"runtime: {info.runtime}"
        old = info.runtime.startswith("python2")
        more = " What else changes: see docs/python2-to-python3.md." if old else ""
        raise ConfigError(
            f"{path}: {given} cannot be run. This server runs apps of the standard "
            "environment with a Python 3 runtime, for example runtime: python313."
            f"{more}"
        )
    inbound_services: list[str] = info.inbound_services or []
    return AppConfig(
        folder=folder,
        runtime=info.runtime,
        service=info.service or info.module or "default",
        # the SDK's validator puts "exec" before every entrypoint
        entrypoint=info.entrypoint and re.sub(r"^exec\s+", "", info.entrypoint),
        env_variables=dict(info.env_variables or {}),
        app_engine_apis=bool(info.app_engine_apis),
        warmup="warmup" in inbound_services,
        static_handlers=tuple(_static_handlers(info, path)),
        queues=(_DEFAULT_QUEUE,),
        warnings=tuple(not_emulated.warnings(info, path, text)),
        version=info.version,
        memory_mb=_MEMORY_MB.get(info.instance_class or "", 384),
    )


def load_queue_yaml(folder: Path) -> tuple[QueueConfig, ...]:
    """Read queue.yaml; without one there is the default queue."""
    path = folder / "queue.yaml"
    if not path.exists():
        return (_DEFAULT_QUEUE,)
    # imported here because it brings in the whole of taskqueue, which takes longer
    # to import than the rest of the server's start
    from google.appengine.api import queueinfo

    info = _parse(queueinfo.LoadSingleQueue, _read(path), path)
    queues: dict[str, QueueConfig] = {}
    for entry in info.queue or []:
        if not entry.name:
            raise ConfigError(f"{path}: a queue has no name.")
        if entry.name in queues:
            raise ConfigError(f"{path}: the queue {entry.name} is listed twice.")
        for name in ("bucket_size", "max_concurrent_requests"):
            if (getattr(entry, name) or 0) < 0:
                # the SDK's parser lets it through, and no task would ever run
                raise ConfigError(
                    f"{path}: queue {entry.name}: {name} is {getattr(entry, name)}, "
                    "and must not be negative."
                )
        try:
            rate = None if entry.rate is None else queueinfo.ParseRate(entry.rate)
            if entry.retry_parameters is not None:
                queueinfo.TranslateRetryParameters(entry.retry_parameters)
        # ValueError: a number that the message of the task queue has no room for
        except (queueinfo.MalformedQueueConfiguration, ValueError) as error:
            raise ConfigError(f"{path}: queue {entry.name}: {error}") from error
        queues[entry.name] = QueueConfig(
            name=entry.name,
            mode=entry.mode or "push",
            rate=rate,
            rate_text=entry.rate,
            bucket_size=5 if entry.bucket_size is None else entry.bucket_size,
            max_concurrent_requests=entry.max_concurrent_requests,
            retry_parameters=entry.retry_parameters,
            target=entry.target,
            acl=tuple(a.user_email or a.writer_email or "" for a in entry.acl or ()),
        )
    queues.setdefault(_DEFAULT_QUEUE.name, _DEFAULT_QUEUE)
    return tuple(queues.values())


def app_yaml_in(folder: Path) -> Path:
    """Return the path of app.yaml; see that what the samples share is there too."""
    if folder.is_file():
        raise ConfigError(
            f"{folder} is a file. Give the folder of the app: {folder.parent}"
        )
    if not folder.is_dir():
        raise ConfigError(
            f"There is no folder {folder}. Give the folder that holds app.yaml."
        )
    path = folder / "app.yaml"
    if not path.is_file():
        raise ConfigError(
            f"There is no app.yaml in {folder}. Give the folder that holds it."
        )
    shared = folder / "shared"
    if shared.is_symlink() and not shared.exists():  # made by cp -r, most likely
        raise ConfigError(
            f"{shared} is a link to nowhere. An app is copied, with what the link "
            "stands for, by: python3 noxfile.py -s copy -- flask DIR"
        )
    # git on Windows makes this of the link
    if shared.is_file() and shared.read_bytes().strip() == b"../shared":
        raise ConfigError(
            f"{shared} is a text file where there should be a folder. An app is "
            "copied, with that folder, by: python3 noxfile.py -s copy -- flask DIR"
        )
    return path


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _parse(parse: Callable[[str], Any], text: str, path: Path) -> Any:
    """Call one of the SDK's parsers; say in which line it failed."""
    try:
        return parse(text)
    # the SDK and ruamel.yaml raise a dozen unrelated types for what a user can write
    except Exception as error:
        cause = getattr(error, "cause", error)
        mark = getattr(cause, "problem_mark", None)
        if mark is None and hasattr(error, "event"):
            mark = error.event.start_mark
        where = "" if mark is None else f", line {mark.line + 1}"
        lines = str(getattr(cause, "problem", None) or cause).splitlines()
        reason = lines[0] if lines else type(cause).__name__
        if reason.endswith(":") and len(lines) > 1:
            reason += " " + lines[1].strip()
        # what the SDK means stands at the end of the chain
        meant = type(getattr(cause, "cause", cause))
        if meant is appinfo_errors.MissingRuntimeError:
            where = ""  # it is noticed at the end of the file
        reason = _REASONS.get(meant, reason)
        raise ConfigError(f"{path}{where}: {reason}") from error


def _static_handlers(info: Any, path: Path) -> Iterator[StaticHandler]:
    """Yield the entries of `handlers` in their order, which decides."""
    for handler in info.handlers or []:
        kind = handler.GetHandlerType()
        url, folder, template, upload = handler.url or "", "", None, None
        if kind == appinfo.HANDLER_STATIC_DIR:
            folder = handler.static_dir.rstrip("/")
            url = url.rstrip("/") + "/(?P<file_in_static_dir>.*)"
            template = r"\g<file_in_static_dir>"
        elif kind == appinfo.HANDLER_STATIC_FILES:
            upload = handler.upload
            # the part before the first group, which no URL can change
            folder = posixpath.dirname(handler.static_files.partition("\\")[0])
            template = handler.static_files.removeprefix(folder).lstrip("/")
        if folder.startswith("/") or ".." in folder.split("/"):
            raise ConfigError(f"{path}: {folder} is outside the app's folder.")
        expiration = handler.expiration or info.default_expiration
        try:
            pattern = re.compile(url)
            groups = [int(n) for n in re.findall(r"\\(\d+)", template or "")]
            if max(groups, default=0) > pattern.groups:
                raise re.error(f"{template} names a group that the URL does not have")
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
