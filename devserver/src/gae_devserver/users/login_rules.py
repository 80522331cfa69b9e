"""Who may use a URL: `login` and `auth_fail_action` of app.yaml's handlers."""

import logging
import posixpath
import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote

from aiohttp import hdrs, web
from google.appengine.api.appinfo import LOGIN_ADMIN, LOGIN_OPTIONAL, LOGIN_REQUIRED

from gae_devserver.config.app_yaml import AppConfig
from gae_devserver.config.handlers import StaticHandler
from gae_devserver.http import static_files
from gae_devserver.http.app_sender import NO_USER
from gae_devserver.terminal import Labelled
from gae_devserver.users import pages
from gae_devserver.users.sessions import Sessions
from gae_devserver.users.sign_in import LOGIN
from gae_devserver.users.user import User

logger = logging.getLogger("gae_devserver.request")


class LoginRules:
    """Applies the handlers' rules to requests and tasks."""

    def __init__(
        self, config: AppConfig, sessions: Sessions, *, label: str = ""
    ) -> None:
        """Apply the rules of a service; `sessions` knows who is signed in.

        `label` is put before each log line.
        """
        self._log = Labelled(logger, label)
        self._sessions = sessions
        self.apply(config)

    def apply(self, config: AppConfig) -> None:
        """Use a changed app.yaml from the next request on."""
        self._config = config
        handlers = config.static_handlers
        self._any = any(handler.login != LOGIN_OPTIONAL for handler in handlers)

    def check(
        self, request: web.BaseRequest, target: str | None
    ) -> Mapping[str, str] | web.Response:
        """Return the headers about the user, or the answer that refuses the request.

        With None, a page of the server made the request, and no rule applies.
        """
        user = self._sessions.user_of(request)
        if target is not None:
            for handler in self._handlers(target):
                refusal = _refusal(handler, user, request, target)
                if refusal is not None:
                    return refusal
        return NO_USER if user is None else user.headers()

    def refusal_of_task(self, target: str) -> int | None:
        """Return the status with which a task fails; None: the app gets the task.

        A request of App Engine's own passes as an administrator, but has no user.
        """
        for handler in self._handlers(target):
            if handler.login == LOGIN_REQUIRED:
                self._log.warning(
                    "no task or cron job can reach %s, because its handler has "
                    "'login: required'. Write 'login: admin'",
                    target,
                )
                return 302 if handler.redirects else 401
        return None

    def _handlers(self, target: str) -> Iterator[StaticHandler]:
        """Yield the handler of a target, and those of other ways to read its path."""
        if not self._any:
            return
        config = self._config
        for path in _readings(static_files.path_of(target)):
            match = static_files.find_by_path(
                config.static_handlers, config.folder, path
            )
            if match is not None:
                yield match.handler


def _readings(path: str) -> Iterator[str]:
    """Yield a path, and the same without empty and dot segments if it has any.

    Flask and Bottle answer //admin as /admin, so the rule of /admin applies to both.
    """
    yield path
    if "//" in path or "/." in path:
        merged = re.sub("/+", "/", path)
        end = "/" if merged.endswith(("/", "/.", "/..")) else ""
        yield posixpath.normpath(merged).rstrip("/") + end or "/"


def _refusal(
    handler: StaticHandler, user: User | None, request: web.BaseRequest, target: str
) -> web.Response | None:
    """Return the answer to a client that may not use a handler's URLs, or None."""
    if handler.login == LOGIN_OPTIONAL:
        return None
    url = static_files.origin_form(target)
    if host := request.headers.get(hdrs.HOST):
        url = f"http://{host}{url}"
    login = f"{LOGIN}?continue={quote(url, safe='')}"
    if user is None:
        if handler.redirects:
            headers = {"Location": login, "Cache-Control": "no-cache"}
            return web.Response(status=302, headers=headers)
        return pages.answer(401, "Sign in first", pages.link(login, "Sign in"))
    if handler.login == LOGIN_ADMIN and not user.is_admin:
        return pages.answer(
            403,
            "Administrators only",
            pages.paragraph(f"You are signed in as {user.email}."),
            pages.link(login, "Sign in as an administrator"),
        )
    return None
