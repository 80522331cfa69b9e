"""Sends tasks to HTTP targets: on this machine, or a host that an option allows."""

import functools
import socket
import ssl
from collections.abc import Collection

import aiohttp
from aiohttp import hdrs
from aiohttp.abc import ResolveResult
from multidict import CIMultiDict
from yarl import URL

from gae_devserver.app.client import Request
from gae_devserver.app.connections import MAX_HEADER_LINE, MAX_HEADERS
from gae_devserver.cloud_tasks.hosts import OPTION, is_this_machine, normalized
from gae_devserver.http.forwarding import status_of

_MAX_CONNECTIONS = 512
_LOOPBACK = (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6))


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
            # force_close: a kept connection may end just when a task is sent on it
            self._session = _session_with(
                aiohttp.TCPConnector(
                    limit=_MAX_CONNECTIONS, force_close=True, resolver=_Resolver()
                )
            )
        return await status_of(
            self._session.request(
                task.method,
                # connect to what was checked: with a final dot, aiohttp and the
                # resolver may see another name
                url.with_host(host),
                headers=headers,
                data=task.body,
                allow_redirects=False,
                ssl=self._tls if url.scheme == "https" else True,
                timeout=aiohttp.ClientTimeout(total=deadline),
            )
        )

    @functools.cached_property
    def _tls(self) -> ssl.SSLContext:
        # aiohttp itself trusts nothing; see http.lean_import
        return ssl.create_default_context()

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()


class _Resolver(aiohttp.ThreadedResolver):
    """Resolves localhost, with any name before it, to loopback addresses alone.

    The system's resolver may know other addresses of such names, or none.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host."""
        if not is_this_machine(host):
            return await super().resolve(host, port, family)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=kind,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address, kind in _LOOPBACK
        ]


def _session_with(connector: aiohttp.BaseConnector) -> aiohttp.ClientSession:
    """Return a session that sends a request once, and adds no headers of its own."""
    return aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        max_field_size=MAX_HEADER_LINE,
        max_headers=MAX_HEADERS,
        max_line_size=MAX_HEADER_LINE,
        middlewares=(_send_once,),
        skip_auto_headers=(
            hdrs.ACCEPT,
            hdrs.ACCEPT_ENCODING,
            hdrs.CONTENT_TYPE,
            hdrs.USER_AGENT,
        ),
    )


async def _send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a GET after its connection broke (a middleware).

    The server may already have run it, and a GET may change something.
    """
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        # aiohttp repeats a request only after these two errors
        raise ConnectionResetError(
            None, "the receiver closed the connection before it answered"
        ) from error
