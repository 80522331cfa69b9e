"""Opens the console for a browser that another program starts."""

import hmac
import secrets
from urllib.parse import quote

from aiohttp import web


class ConsoleLink:
    """Gives the token to the first browser that has a code, which then is of no use.

    Every user of a machine can read the command line of a browser, so the token must
    not be in it.
    """

    def __init__(self, token: str) -> None:
        """Lead to the console with this token."""
        self._target = f"/#{quote(token)}"
        self._code: str | None = None

    def new_path(self) -> str:
        """Return the path for a browser; one that was made before is of no use."""
        self._code = secrets.token_urlsafe()
        return f"/open/{self._code}"

    def routes(self) -> list[web.RouteDef]:
        """Return its routes."""
        return [web.get("/open/{code}", self._open)]

    async def _open(self, request: web.Request) -> web.Response:
        code = request.match_info["code"]
        if self._code is None or not hmac.compare_digest(
            code.encode(), self._code.encode()
        ):
            raise web.HTTPNotFound(
                text="This address has been used. Open the address that the server "
                "has printed in the line Console."
            )
        self._code = None
        headers = {"Location": self._target, "Cache-Control": "no-store"}
        return web.Response(status=303, headers=headers)
