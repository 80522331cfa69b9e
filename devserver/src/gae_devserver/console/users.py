"""The page that signs a browser in to the app, as anyone."""

from collections.abc import Hashable, Mapping
from typing import Any

from aiohttp import hdrs, web

from gae_devserver.console.frame import bodies
from gae_devserver.console.frame.answers import show
from gae_devserver.http.server import read_body
from gae_devserver.users.sessions import Sessions, is_local
from gae_devserver.users.sign_in import EMAIL
from gae_devserver.users.user import User

_EXAMPLE = '{"email": "test@example.com", "admin": true}'


class UserRoutes:
    """Signs in and out.

    A browser sends the cookie of a host to every port of it. So a cookie that this port
    sets is one for the app, and this port reads who is signed in there. Only a program
    with the token gets such a cookie, so no page elsewhere can sign a browser in.
    """

    def __init__(self, sessions: Sessions, app_port: int) -> None:
        """Sign in to the app on the public port."""
        self._sessions = sessions
        self._app_port = app_port

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/users", self._list),
            web.post("/users/sign_in", self._sign_in),
            web.post("/users/sign_out", self._sign_out),
            web.post("/users/sign_out_all", self._sign_out_all),
        ]

    def revisions(self) -> Mapping[str, Hashable]:
        """Return what changes when someone signs in."""
        return {"users": self._sessions.changes}

    async def _list(self, request: web.Request) -> web.StreamResponse:
        # the same name, because a cookie for localhost is not one for 127.0.0.1
        host = request.host.rpartition(":")[0] or request.host
        user = self._sessions.user_of(request)
        data = {
            "user": None if user is None else _describe(user),
            "recent": [_describe(recent) for recent in self._sessions.recent],
            "app_url": f"http://{host}:{self._app_port}",
        }
        return show(request, data, "users.html")

    async def _sign_in(self, request: web.Request) -> web.Response:
        _check_local(request)
        fields = bodies.fields_in(await read_body(request), _EXAMPLE)
        match fields:
            case {"email": str() as email, **others} if EMAIL.fullmatch(email.strip()):
                is_admin = others.get("admin", False)
            case _:
                raise web.HTTPBadRequest(
                    text=f"'email' must be an address. Send for example {_EXAMPLE}."
                )
        if not isinstance(is_admin, bool):
            text = f"'admin' must be true or false. Send for example {_EXAMPLE}."
            raise web.HTTPBadRequest(text=text)
        user = User(email.strip(), is_admin)
        headers = {hdrs.SET_COOKIE: self._sessions.begin(user)}
        return web.json_response({"user": _describe(user)}, headers=headers)

    async def _sign_out(self, request: web.Request) -> web.Response:
        headers = {hdrs.SET_COOKIE: self._sessions.end()}
        return web.json_response({"user": None}, headers=headers)

    async def _sign_out_all(self, request: web.Request) -> web.Response:
        self._sessions.end_all()
        return await self._sign_out(request)


def _check_local(request: web.Request) -> None:
    if not is_local(request):
        raise web.HTTPForbidden(
            text="Only a client on the machine of this development server can sign in, "
            "because there is no password."
        )


def _describe(user: User) -> dict[str, Any]:
    return {"email": user.email, "admin": user.is_admin, "id": user.id}
