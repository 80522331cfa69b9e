"""Sends tasks to HTTP targets: on this machine, or a host that an option allows."""

import asyncio
import socket
from collections.abc import Collection

import aiohttp
from aiohttp import hdrs
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDict
from yarl import URL

from gae_devserver.app.client import MAX_HEADER_LINE, Request, send_once
from gae_devserver.cloud_tasks.hosts import OPTION, is_this_machine, normalized
from gae_devserver.http.forwarding import reason_of

_MAX_CONNECTIONS = 512


class HttpTargets:
    """Sends each task once, follows no redirect, and uses no proxy."""

    def __init__(self, allowed_hosts: Collection[str] = ()) -> None:
        """Allow this machine, and these hosts in the form of `normalized`."""
        self._allowed = frozenset(allowed_hosts)
        self._session: aiohttp.ClientSession | None = None

    async def dispatch(self, task: Request, deadline: float) -> int:
        """Send a task to the URL that is its target; return the status of the answer.

        Raises:
            ConnectionError: the host is not allowed, so that nothing was sent, or the
                connection broke.
            TimeoutError: there was no answer within `deadline` seconds.
        """
        try:
            url = URL(task.target)
            host = normalized(url.raw_host or "")
        except ValueError as error:
            raise ConnectionError(f"cannot send to {task.target!r}: {error}") from error
        if not is_this_machine(host) and host not in self._allowed:
            raise ConnectionError(
                f"not sent, because {host} may be another machine. To allow it, start "
                f"the server with {OPTION} {host}"
            )
        # a copy: the same task may be sent again
        headers = CIMultiDict(task.headers)
        headers[hdrs.CONTENT_LENGTH] = str(len(task.body or b""))
        if hdrs.AUTHORIZATION in headers:
            url = url.with_user(None)
        if self._session is None:
            self._session = _make_session()
        try:
            async with self._session.request(
                task.method,
                # connect to what was checked: with a final dot, aiohttp and the
                # resolver may see another name
                url.with_host(host),
                headers=headers,
                data=task.body,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=deadline),
            ) as answer:
                # the target may still be working while it sends the body
                async for _ in answer.content.iter_any():
                    pass
                return answer.status
        except TimeoutError:
            raise
        except (aiohttp.ClientError, ValueError) as error:
            raise ConnectionError(reason_of(error)) from error

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()


def _make_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=_MAX_CONNECTIONS,
            # a kept connection may end just when a task is sent on it
            force_close=True,
            resolver=_Resolver(),
        ),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        max_field_size=MAX_HEADER_LINE,
        max_line_size=MAX_HEADER_LINE,
        middlewares=(send_once,),
        skip_auto_headers=(
            hdrs.ACCEPT,
            hdrs.ACCEPT_ENCODING,
            hdrs.CONTENT_TYPE,
            hdrs.USER_AGENT,
        ),
    )


class _Resolver(AbstractResolver):
    """Resolves localhost, with any name before it, to loopback addresses alone.

    The system's resolver may know other addresses of such names, or none.
    """

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,
    ) -> list[ResolveResult]:
        """Return the addresses of a host."""
        names = ["127.0.0.1", "::1"] if is_this_machine(host) else [host]
        loop = asyncio.get_running_loop()
        found = []
        for name in names:
            for kind, _, proto, _, address in await loop.getaddrinfo(
                name, port, family=family, type=socket.SOCK_STREAM
            ):
                found.append(
                    ResolveResult(
                        hostname=host,
                        host=str(address[0]),
                        port=port,
                        family=kind,
                        proto=proto,
                        flags=socket.AI_NUMERICHOST,
                    )
                )
        return found

    async def close(self) -> None:
        """Do nothing: it holds nothing."""
