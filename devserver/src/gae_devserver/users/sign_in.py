"""The pages /_ah/login and /_ah/logout."""

import re
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import parse_qsl

from aiohttp import hdrs, web

from gae_devserver.http.server import read_body
from gae_devserver.storage.storage import StorageError
from gae_devserver.users import pages
from gae_devserver.users.destination import destination
from gae_devserver.users.sessions import Sessions, is_local
from gae_devserver.users.user import User

LOGIN = "/_ah/login"
LOGOUT = "/_ah/logout"

_CONTINUE = "continue"
_MAX_BODY = 2**16
_MAX_FIELDS = 10
EMAIL = re.compile(r"[!-?A-~]{1,200}@[!-?A-~]{1,200}")
"""An address of ASCII, with one "@"."""

Page = Callable[[web.BaseRequest], Awaitable[web.Response | None]]


class SignIn:
    """Signs users in and out, without a password."""

    def __init__(self, sessions: Sessions) -> None:
        """Make the pages that begin and end these sessions."""
        self._sessions = sessions

    def pages(self) -> Mapping[str, Page]:
        """Return the pages by their paths."""
        return {LOGIN: self._login, LOGOUT: self._logout}

    async def _login(self, request: web.BaseRequest) -> web.Response | None:
        """Show the form, or sign in the user that it names."""
        if request.path != LOGIN:
            return None
        if not is_local(request):
            raise web.HTTPForbidden(
                text="Only a client on the machine of this development server can sign "
                "in, because there is no password.\n"
            )
        match request.method:
            case hdrs.METH_POST:
                return await self._sign_in(request)
            case hdrs.METH_GET | hdrs.METH_HEAD:
                url = request.rel_url.query.get(_CONTINUE, "")
                if url and destination(url, request) is None:
                    return _elsewhere(url)
                return self._form(request, url)
        return _wrong_method("GET, HEAD, POST")

    async def _sign_in(self, request: web.BaseRequest) -> web.Response:
        # a page elsewhere could sign a browser in as an administrator, and then make
        # it send requests to the app
        origin = f"http://{request.headers.get(hdrs.HOST, '')}".lower()
        if [o.lower() for o in request.headers.getall(hdrs.ORIGIN, [])] != [origin]:
            raise web.HTTPForbidden(
                text="Sign in on the page /_ah/login of this server. A program has to "
                f"send the header Origin: {origin}\n"
            )
        form = await _form_of(request)
        url, email = form.get(_CONTINUE, ""), form.get("email", "").strip()
        path = destination(url or LOGIN, request)
        if path is None:
            return _elsewhere(url)
        if not EMAIL.fullmatch(email):
            fault = "Enter an address such as test@example.com."
            return self._form(request, url, fault, email)
        user = User(email, is_admin=form.get("admin", "").lower() == "true")
        try:
            cookie = self._sessions.begin(user)
        except StorageError as error:
            raise web.HTTPInternalServerError(text=f"{error}\n") from error
        headers = {hdrs.LOCATION: path, hdrs.SET_COOKIE: cookie}
        return web.Response(status=303, headers=headers)

    def _form(
        self, request: web.BaseRequest, url: str, fault: str = "", email: str = ""
    ) -> web.Response:
        user = self._sessions.user_of(request)
        return pages.login_form(
            user, url, login=LOGIN, logout=LOGOUT, fault=fault, email=email
        )

    async def _logout(self, request: web.BaseRequest) -> web.Response | None:
        """Sign the user out, also by a GET: apps link to it, as on App Engine."""
        if request.path != LOGOUT:
            return None
        match request.method:
            case hdrs.METH_POST:
                url = (await _form_of(request)).get(_CONTINUE, "")
            case hdrs.METH_GET | hdrs.METH_HEAD:
                url = request.rel_url.query.get(_CONTINUE, "")
            case _:
                return _wrong_method("GET, HEAD, POST")
        path = destination(url or LOGIN, request)
        if path is None:
            response = _elsewhere(url)
        else:
            status = 303 if request.method == hdrs.METH_POST else 302
            response = web.Response(status=status, headers={hdrs.LOCATION: path})
        response.headers[hdrs.SET_COOKIE] = self._sessions.end()
        response.headers[hdrs.CACHE_CONTROL] = "no-store"
        return response


async def _form_of(request: web.BaseRequest) -> dict[str, str]:
    """Return the fields of a form.

    Raises:
        web.HTTPException: the body is no form, or has too much.
    """
    if request.content_type != "application/x-www-form-urlencoded":
        text = "The request needs Content-Type: application/x-www-form-urlencoded.\n"
        raise web.HTTPUnsupportedMediaType(text=text)
    body = await read_body(request)
    try:
        if len(body) > _MAX_BODY:
            raise ValueError("it is too large")
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS
        )
    except ValueError as error:
        text = f"The server cannot read the form: {error}.\n"
        raise web.HTTPBadRequest(text=text) from error
    return dict(pairs)


def _elsewhere(url: str) -> web.Response:
    return pages.answer(
        400,
        "Not a page of this server",
        pages.paragraph(f"The app asks to continue at {url}"),
        pages.paragraph("It must be a path, such as /, or a URL of this server."),
    )


def _wrong_method(allowed: str) -> web.Response:
    return web.Response(status=405, headers={"Allow": allowed})
