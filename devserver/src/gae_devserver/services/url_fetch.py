"""URL Fetch: sends the app's requests to other servers, with TLS and deadlines.

The SDK's stub cannot do HTTPS outside of Google's dev server, limits each read from a
socket in place of the whole fetch, and reads answers of any size.
"""

import functools
import logging
import ssl
import time
import urllib.parse
from collections.abc import Mapping
from typing import Any

from google.appengine.api import urlfetch_service_pb2 as pb
from google.appengine.api import urlfetch_stub
from google.appengine.runtime import apiproxy_errors

from gae_devserver.services.fetch import ERRORS, Fetch, Identify, fail
from gae_devserver.terminal import printable

logger = logging.getLogger("gae_devserver")

_METHODS = pb.URLFetchRequest.RequestMethod
_WITH_PAYLOAD = frozenset({"PATCH", "POST", "PUT"})
_REDIRECTS_AS_IT_IS = frozenset({307, 308})
# an app cannot set these:
# https://cloud.google.com/appengine/docs/standard/services/urlfetch/outbound-requests
_NOT_FROM_THE_APP = frozenset(
    [
        "content-length",
        "host",
        "vary",
        "via",
        "x-appengine-inbound-appid",
        "x-forwarded-for",
        "x-proxyuser-ip",
    ]
)
_MAX_PAYLOAD = 10 * 2**20
_MAX_ANSWER = 32 * 2**20
_DEADLINE = 10.0


class UrlFetch(urlfetch_stub.URLFetchServiceStub):  # type: ignore[misc]
    """Carries out fetches, each in the thread that calls it."""

    def __init__(
        self,
        identify: Identify = lambda connection: {},
        *,
        deadline: float = _DEADLINE,
        max_answer: int = _MAX_ANSWER,
    ) -> None:
        """Make the service.

        `identify` is asked for each fetch that follows no redirects, as on App Engine.
        `deadline` is for fetches that set none. An answer is cut at `max_answer` bytes.
        """
        super().__init__()
        self._identify = identify
        self._deadline = deadline
        self._max_answer = max_answer
        self._tls_context = functools.cache(_tls_context)

    def _Dynamic_Fetch(self, request: Any, response: Any) -> None:
        deadline = request.Deadline if request.HasField("Deadline") else self._deadline
        try:
            self._follow(request, response, time.monotonic() + deadline)
        except apiproxy_errors.ApplicationError as error:
            # the client's text of most errors has no reason
            code = ERRORS.ErrorCode.Name(error.application_error)
            url, reason = printable(request.Url[:200]), printable(error.error_detail)
            if error.application_error == ERRORS.DEADLINE_EXCEEDED:
                reason = f"no complete answer within {deadline:g} s"
            logger.warning("urlfetch of %s failed: %s (%s)", url, reason, code)
            raise

    def _follow(self, request: Any, response: Any, end: float) -> None:
        """Send the request, and those to which redirects lead."""
        method, url = _METHODS.Name(request.Method), request.Url
        payload = request.Payload if method in _WITH_PAYLOAD else None
        if payload is not None and len(payload) > _MAX_PAYLOAD:
            fail(ERRORS.PAYLOAD_TOO_LARGE, f"more than {_MAX_PAYLOAD} bytes")
        headers = [
            (header.Key, header.Value)
            for header in request.header
            if header.Key.lower() not in _NOT_FROM_THE_APP
        ]
        verify = not request.HasField("MustValidateServerCertificate")
        tls = functools.partial(
            self._tls_context, verify or request.MustValidateServerCertificate
        )
        identify = _without_identity if request.FollowRedirects else self._identify
        for _ in range(urlfetch_stub.MAX_REDIRECTS + 1):
            fetch = Fetch(url, method, payload, headers, tls, end, identify)
            answer = fetch.send(self._max_answer, request.FollowRedirects)
            if answer.location is None:
                break
            try:
                url = urllib.parse.urljoin(url, answer.location)
            except ValueError as error:
                reason = f"a redirect to {answer.location[:200]!r}: {error}"
                fail(ERRORS.MALFORMED_REPLY, reason)
            if answer.status not in _REDIRECTS_AS_IT_IS and method != "HEAD":
                method, payload = "GET", None
                headers = [
                    pair for pair in headers if pair[0].lower() != "content-type"
                ]
        else:
            fail(ERRORS.TOO_MANY_REDIRECTS, f"the last one leads to {url}")
        response.StatusCode = answer.status
        response.Content = answer.body
        response.ContentWasTruncated = answer.truncated
        for name, value in answer.headers:
            response.header.add(Key=name, Value=value)
        if url != request.Url:
            response.FinalUrl = url


def _without_identity(connection: object) -> Mapping[str, str]:
    return {}


def _tls_context(verify: bool) -> ssl.SSLContext:
    """Return the settings for HTTPS; SSL_CERT_FILE can name other CAs."""
    if verify:
        context = ssl.create_default_context()
        # Python 3.13 and later refuse what many authorities of companies sign
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
