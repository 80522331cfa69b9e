"""Reads `handlers`: which URLs are static files, and which go to the app."""

import dataclasses
import os
import posixpath
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from google.appengine.api import appinfo

from gae_devserver.config.includes import Merged
from gae_devserver.config.parsing import ConfigError

# endings of code and templates, which an app reads even if a browser may see them too
_OF_THE_APP = frozenset(
    (".py", ".toml", ".yaml", ".yml", ".j2", ".jinja", ".jinja2", ".mako", ".tmpl")
)


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
    application_readable: bool = False
    """Whether the app has the files too."""
    login: str = appinfo.LOGIN_OPTIONAL
    """Who may use the URLs: "optional" (everyone), "required" or "admin"."""
    redirects: bool = True
    """Whether clients that are not signed in are sent to the login page."""


def static_handlers(app: Merged) -> Iterator[StaticHandler]:
    """Yield the entries of `handlers` in order: the first that matches is used."""
    for handler, place in zip(app.info.handlers or (), app.places, strict=True):
        kind = handler.GetHandlerType()
        url, folder, template, upload = handler.url, "", None, None
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
                f"{place}: {folder} is outside the app's folder. Static files must be "
                "inside it."
            )
        expiration = handler.expiration or app.info.default_expiration
        try:
            # "." is any character, as in the POSIX expressions of App Engine; otherwise
            # a newline in a path would evade `login`
            pattern = re.compile(url, re.DOTALL)
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
                application_readable=bool(handler.application_readable),
                login=handler.login or appinfo.LOGIN_OPTIONAL,
                redirects=(
                    handler.auth_fail_action != appinfo.AUTH_FAIL_ACTION_UNAUTHORIZED
                ),
            )
        except re.error as error:
            raise ConfigError(
                f"{place}: the handler {handler.url}: {error}. Fix the pattern."
            ) from error


def is_only_static(handlers: Iterable[StaticHandler], folder: Path, file: Path) -> bool:
    """Return whether a file of the app in `folder` is there for browsers alone.

    `file` has the real name of its folder. On App Engine, an app cannot read what
    static handlers serve, unless it is `application_readable`. Here it can, so code and
    templates do not count as static.
    """
    inside = file.parts[len(folder.resolve().parts) :]
    if file.suffix in _OF_THE_APP or "templates" in inside:
        return False
    return not file.name.startswith("requirements") and any(
        _is_served(handler, folder, file) for handler in handlers
    )


def _is_served(handler: StaticHandler, folder: Path, file: Path) -> bool:
    if handler.file_template is None or handler.application_readable:
        return False
    # the folder may be a link
    root = (folder / handler.folder).resolve()
    if not file.is_relative_to(root):
        return False
    uploaded = posixpath.join(handler.folder, file.relative_to(root).as_posix())
    return handler.upload is None or handler.upload.fullmatch(uploaded) is not None


def is_static_site(handlers: Iterable[StaticHandler], folder: Path) -> bool:
    """Return whether the front page is a static file, and the app has no module.

    App Engine starts no instance for static files, so it needs nothing to start.
    """
    front = next((handler for handler in handlers if handler.url.fullmatch("/")), None)
    is_static = front is not None and front.file_template is not None
    return is_static and not any(folder.glob("*.py"))


def warnings(
    app: Merged, handlers: tuple[StaticHandler, ...], folder: Path
) -> Iterator[str]:
    """Yield a warning for each static handler whose folder or file does not exist."""
    for raw, handler, place in zip(
        app.info.handlers or (), handlers, app.places, strict=True
    ):
        if handler.file_template is None:
            continue
        what, name = "folder", handler.folder
        # not Path.is_dir(), which fails if the name is too long
        if raw.static_files and "\\" not in raw.static_files:
            what, name = "file", raw.static_files
            is_there = os.path.isfile(folder / name)  # noqa: PTH113
        else:
            is_there = os.path.isdir(folder / name)  # noqa: PTH112
        if not is_there:
            yield (
                f"{place}: the app has no {what} {name}, so {raw.url} serves nothing. "
                "Create it, or fix its name."
            )
