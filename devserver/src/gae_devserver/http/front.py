"""The public port: finds the service that gets a request, and logs it."""

import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping

import aiohttp
from aiohttp import web

from gae_devserver.activity import activity
from gae_devserver.activity.activity import Activity
from gae_devserver.activity.records import Record
from gae_devserver.app.client import Request
from gae_devserver.app.supervisor import AppUnavailable
from gae_devserver.http import static_files
from gae_devserver.http.forwarding import reason_of
from gae_devserver.http.limits import DEFAULT_LIMITS, Limits
from gae_devserver.http.routing import UnknownServiceError
from gae_devserver.http.server import HttpServer, check_host
from gae_devserver.http.site import Site
from gae_devserver.terminal import printable, request_fields, summary

logger = logging.getLogger("gae_devserver.request")

Page = Callable[[web.BaseRequest], Awaitable[web.StreamResponse | Request | None]]
"""Answers a request itself, or returns the one that the app gets in its place.

With None, the app gets the request itself.
"""
FindSite = Callable[[str, str], Site]
"""Returns the site for a Host header and a target, or raises UnknownServiceError."""


class Front(HttpServer):
    """Answers requests from outside."""

    def __init__(
        self,
        find_site: FindSite,
        *,
        pages: Mapping[str, Page] | None = None,
        is_host: Callable[[str], bool] = lambda host: False,
        records: Activity | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """Serve the sites that `find_site` returns.

        `pages` are the server's own, each by the beginning of its paths, which has the
        form "/_ah/NAME". `is_host` says which names the server has besides those of
        this machine. `records` keeps each request.
        """
        super().__init__(self._handle, limits)
        self._find_site = find_site
        self._pages = pages or {}
        self._is_host = is_host
        self._records = records or Activity()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        record = self._records.begin(
            "request", request.method, request.raw_path, headers=request.raw_headers
        )
        activity.current.set(record)
        status, label = 0, ""
        try:
            async with contextlib.AsyncExitStack() as at_end:
                at_end.callback(lambda: self._records.end(record, status))
                label, response = await self._respond(request, record, at_end)
                status = response.status
                # the client may disconnect; aiohttp closes the connection
                with contextlib.suppress(ConnectionError):
                    await response.prepare(request)
                    await response.write_eof()
        finally:
            # only now it is known what the app has logged
            if status:
                self._log(record, label)
        return response

    def _log(self, record: Record, label: str) -> None:
        failed = record.failure
        logger.log(
            logging.WARNING if failed else logging.INFO,
            "%s%s %s %d %.0f ms%s",
            label,
            record.method,
            printable(record.target),
            record.status,
            (record.seconds or 0.0) * 1000,
            f": {summary(failed)}" if failed else "",
            extra={"ends": True, "fields": request_fields(record)},
        )

    async def _respond(
        self,
        request: web.BaseRequest,
        record: Record,
        at_end: contextlib.AsyncExitStack,
    ) -> tuple[str, web.StreamResponse]:
        """Return the label of the service that got the request, and the answer.

        `record` is that of the request.
        `at_end` ends the request to the app after the answer was sent.
        """
        label = ""
        try:
            host = check_host(request, self._is_host)
            forwarded, target = None, request.raw_path
            if (page := self._page(target)) is not None:
                answered = await page(request)
                if isinstance(answered, web.StreamResponse):
                    return label, answered
                if answered is not None:
                    forwarded, target = answered, answered.target
            site = self._find_site(host, target)
            label = site.label
            record.service = site.service
            return label, await site.respond(request, forwarded, at_end)
        except web.HTTPException as error:
            # aiohttp warns if a handler returns an exception
            refusal = web.Response(status=error.status, text=error.text)
            if not error.keep_alive:
                refusal.force_close()
            return label, refusal
        except UnknownServiceError as error:
            text = f"{str(error)[0].upper()}{str(error)[1:]}\n"
            return label, web.Response(status=404, text=text)
        except AppUnavailable as error:
            return label, web.Response(status=503, text=f"{error}\n")
        except aiohttp.ClientError as error:
            # the client of a HEAD gets no text
            why = printable(f"the request to the app failed: {reason_of(error)}")
            logger.warning("%sstatus 502: %s", label, why)
            text = f"{why[0].upper()}{why[1:]}.\n"
            return label, web.Response(status=502, text=text)
        except ValueError as error:
            text = f"The server cannot forward this request: {error}.\n"
            return label, web.Response(status=400, text=text)

    def _page(self, target: str) -> Page | None:
        """Return the server's own page for a request target."""
        target = static_files.origin_form(target)
        if not target.startswith("/_ah/"):
            return None
        name = target.partition("?")[0].split("/")[2]
        return self._pages.get(f"/_ah/{name}")
