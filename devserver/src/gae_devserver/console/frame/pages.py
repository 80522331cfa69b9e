"""The frame of the pages: the navigation, and the files of the pages themselves."""

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

_FOLDER = Path(__file__).parents[1] / "static"
# mimetypes reads the system's list, which can be wrong or missing
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class Page:
    """A page of the navigation, and those below its path."""

    path: str
    title: str
    others: tuple[str, ...] = ()
    """Paths elsewhere that belong to it."""

    def holds(self, path: str) -> bool:
        """Return whether a path is this page or one below it."""
        return any(
            path == own or path.startswith(own.rstrip("/") + "/")
            for own in (self.path, *self.others)
        )


PAGES = (
    Page("/", "Tasks"),
    Page("/queues", "Queues"),
    Page("/attempts", "Attempts"),
    Page("/cron", "Cron"),
    Page("/requests", "Requests"),
    Page("/datastore", "Datastore", ("/entities",)),
    Page("/indexes", "Indexes"),
    Page("/memcache", "Memcache"),
    Page("/blobs", "Blobs"),
    Page("/mails", "Mails"),
    Page("/search", "Search"),
    Page("/users", "Sign in as"),
    Page("/cloud_tasks", "Cloud Tasks"),
    Page("/services", "Services"),
)
"""The navigation, in its order."""


def current(path: str) -> Page | None:
    """Return the page that holds a path; None: no one does, or only the first one."""
    if path == "/":
        return PAGES[0]
    return next((page for page in PAGES[1:] if page.holds(path)), None)


class FileRoutes:
    """Serves the script, the styles and the icon."""

    def routes(self) -> list[web.RouteDef]:
        """Return the route."""
        return [web.get("/static/{name:[a-z.]+}", self._get_file)]

    async def _get_file(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        suffix = Path(name).suffix
        if suffix not in _TYPES or not (file := _FOLDER / name).is_file():
            raise web.HTTPNotFound(text=f"There is no file {name!r}.")
        content, tag = _read(file, file.stat().st_mtime_ns)
        # another release of the server may serve other files at the same address
        headers = {"Cache-Control": "no-cache", "ETag": f'"{tag}"'}
        if any(known.value == tag for known in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        return web.Response(
            body=content, content_type=_TYPES[suffix], charset="utf-8", headers=headers
        )


@functools.lru_cache
def _read(file: Path, mtime: int) -> tuple[bytes, str]:
    """Return the content of a file, and what changes with it."""
    content = file.read_bytes()
    return content, hashlib.sha256(content).hexdigest()[:16]
