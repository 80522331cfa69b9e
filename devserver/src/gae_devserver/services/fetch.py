"""One request of a fetch: sent within a deadline, and its answer read up to a limit."""

import http.client
import ipaddress
import socket
import ssl
import threading
import time
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from google.appengine.api import full_app_id
from google.appengine.api import urlfetch_service_pb2 as pb
from google.appengine.runtime import apiproxy_errors

from gae_devserver.cloud_tasks.hosts import is_this_machine

ERRORS = pb.URLFetchServiceError

Identify = Callable[[socket.socket], Mapping[str, str]]
"""Returns the headers that tell the server at the other end who sends the request."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_URL = 10240
_PORTS = frozenset([*range(80, 91), *range(440, 451), *range(1024, 65536)])
_QUOTED = "!#$%&'()*+,/:;=?@[]~"  # stays in a URL as it is
# OpenSSL's codes for certificates that no known authority has signed
_UNKNOWN_AUTHORITY = frozenset({18, 19, 20, 21})
_CA_HINT = "to trust a CA of your own, start the server with SSL_CERT_FILE=FILE"


class Answer:
    """What a server answered."""

    def __init__(self, status: int, location: str | None) -> None:
        self.status = status
        self.location = location
        """Where to go on; None: this is the end."""
        self.headers: list[tuple[str, str]] = []
        self.body = b""
        self.truncated = False


class Fetch:
    """One request of a fetch."""

    def __init__(
        self,
        url: str,
        method: str,
        payload: bytes | None,
        headers: Sequence[tuple[str, str]],
        tls: Callable[[], ssl.SSLContext],
        end: float,
        identify: Identify,
    ) -> None:
        """Prepare a request that has to be answered at the moment `end`."""
        if len(url) > _MAX_URL:
            fail(ERRORS.INVALID_URL, f"more than {_MAX_URL} characters")
        try:
            parts = urllib.parse.urlsplit(url)
            self._port = parts.port
            self._host = (parts.hostname or "").encode("idna").decode()
        except ValueError as error:  # UnicodeError too
            fail(ERRORS.INVALID_URL, str(error))
        self._scheme, self._end = parts.scheme, end
        if self._scheme not in ("http", "https"):
            fail(ERRORS.INVALID_URL, "it is neither http nor https")
        if not self._host:
            fail(ERRORS.INVALID_URL, "it has no host")
        if self._port is not None and self._port not in _PORTS:
            why = "App Engine allows only 80-90, 440-450 and 1024-65535"
            fail(ERRORS.INVALID_URL, f"port {self._port}: {why}")
        shown = f"[{self._host}]" if ":" in self._host else self._host
        self._authority = shown if self._port is None else f"{shown}:{self._port}"
        path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        self._target = urllib.parse.quote(path, safe=_QUOTED)
        self._method, self._payload, self._tls = method, payload, tls
        self._identify = identify
        self._headers = _with_defaults(headers, payload)
        self._decompress = not any(n.lower() == "accept-encoding" for n, _ in headers)
        self._socket: socket.socket | None = None

    def send(self, max_answer: int, follow_redirects: bool) -> Answer:
        """Send the request; return the answer, without the body if it is a redirect.

        Raises:
            apiproxy_errors.ApplicationError: there is no answer, or not in time.
        """
        connection = self._connection()
        timer = threading.Timer(self._seconds_left(), self._shut_down, (connection,))
        timer.daemon = True
        timer.start()
        try:
            self._write(connection)
            with connection.getresponse() as reply:
                answer = self._read(reply, max_answer, follow_redirects)
            if answer.location is None:
                self._seconds_left()  # a body without a length may end at the deadline
        except apiproxy_errors.ApplicationError:
            raise
        except Exception as error:  # noqa: BLE001 - its type decides
            self._seconds_left()
            fail(*_code_and_reason(error))
        finally:
            timer.cancel()
            connection.close()
        return answer

    def _seconds_left(self) -> float:
        if (left := self._end - time.monotonic()) <= 0.0:
            fail(ERRORS.DEADLINE_EXCEEDED, "the deadline is over")
        return left

    def _shut_down(self, connection: http.client.HTTPConnection) -> None:
        """End every read and write of a connection."""
        try:
            if (sock := self._socket or connection.sock) is not None:
                sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            # it is closed, or in a TLS handshake, which has the timeout of a socket
            pass

    def _connection(self) -> http.client.HTTPConnection:
        """Return a connection to the host or to its proxy, which is not open yet."""
        host, port, timeout = self._host, self._port, self._seconds_left()
        proxy = _proxy(self._scheme, self._host, self._authority)
        if proxy is not None:
            host, port = proxy.hostname or "", proxy.port or 80
        if self._scheme == "http":
            if proxy is not None:
                self._target = f"http://{self._authority}{self._target}"
            elif _unmapped(host).endswith(".localhost"):
                # not every resolver knows the names of services
                host = "localhost"
            return http.client.HTTPConnection(host, port, timeout=timeout)
        connection = http.client.HTTPSConnection(
            host, port, timeout=timeout, context=self._tls()
        )
        if proxy is not None:
            connection.set_tunnel(self._host, self._port or 443)
        return connection

    def _write(self, connection: http.client.HTTPConnection) -> None:
        connection.connect()
        # the connection forgets it if only the end of the answer shows its length
        self._socket = sock = connection.sock
        connection.putrequest(
            self._method, self._target, skip_host=True, skip_accept_encoding=True
        )
        connection.putheader("Host", self._authority)
        for name, value in [*self._headers, *self._identify(sock).items()]:
            connection.putheader(name, value.encode("utf-8"))
        connection.endheaders(self._payload)

    def _read(
        self, reply: http.client.HTTPResponse, limit: int, follow_redirects: bool
    ) -> Answer:
        location = None
        if follow_redirects and reply.status in _REDIRECTS:
            location = reply.headers["Location"]
            if location is None:
                fail(ERRORS.MALFORMED_REPLY, "a redirect without Location")
            # http.client takes every header for Latin-1
            location = location.encode("latin-1", "replace").decode("utf-8", "replace")
        answer = Answer(reply.status, location)
        if location is not None:
            return answer
        gzipped = self._decompress and reply.headers["Content-Encoding"] == "gzip"
        if self._method != "HEAD":
            answer.body = _read_body(reply, limit + 1, gzipped)
            answer.truncated = len(answer.body) > limit
            answer.body = answer.body[:limit]
        for name, value in reply.headers.items():
            if gzipped and name.lower() == "content-encoding":
                continue
            is_length = name.lower() == "content-length" and self._method != "HEAD"
            length = str(len(answer.body))
            answer.headers.append((name, length if is_length else value))
        return answer


def _with_defaults(
    headers: Sequence[tuple[str, str]], payload: bytes | None
) -> list[tuple[str, str]]:
    """Return the headers with those that URL Fetch adds."""
    agent = "AppEngine-Google; (+http://code.google.com/appengine; appid: {})"
    agent = agent.format(full_app_id.get())
    found = {name.lower() for name, _ in headers}
    complete = [
        (name, f"{value} {agent}" if name.lower() == "user-agent" else value)
        for name, value in headers
    ]
    if "user-agent" not in found:
        complete.append(("User-Agent", agent))
    if "accept-encoding" not in found:
        complete.append(("Accept-Encoding", "gzip"))
    if payload is not None:
        complete.append(("Content-Length", str(len(payload))))
        if payload and "content-type" not in found:
            form = "application/x-www-form-urlencoded"
            complete.append(("Content-Type", form))
    return complete


def _read_body(reply: http.client.HTTPResponse, size: int, gzipped: bool) -> bytes:
    """Return the first `size` bytes of the body, decompressed."""
    parts, have = [], 0
    unzip = zlib.decompressobj(16 + zlib.MAX_WBITS) if gzipped else None
    while have < size:
        data = reply.read1(2**16)
        if not data:
            if reply.length:
                raise http.client.IncompleteRead(b"", reply.length)
            break
        if unzip is not None:
            data = unzip.decompress(data, size - have)
        parts.append(data)
        have += len(data)
    return b"".join(parts)[:size]


def _code_and_reason(error: Exception) -> tuple[int, str]:
    reason = str(error) or type(error).__name__
    match error:
        case ssl.SSLCertVerificationError():
            why = error.verify_message.rstrip(".")
            if error.verify_code in _UNKNOWN_AUTHORITY:
                why += f"; {_CA_HINT}"
            return ERRORS.SSL_CERTIFICATE_ERROR, why
        case TimeoutError():
            return ERRORS.DEADLINE_EXCEEDED, reason
        case ssl.SSLError():
            return ERRORS.SSL_CERTIFICATE_ERROR, reason
        case socket.gaierror():
            return ERRORS.DNS_ERROR, reason
        case ConnectionResetError() | BrokenPipeError() | http.client.IncompleteRead():
            return ERRORS.CLOSED, reason
        case http.client.InvalidURL():
            return ERRORS.INVALID_URL, reason
        case http.client.HTTPException() | zlib.error():
            return ERRORS.MALFORMED_REPLY, reason
        case OSError() | ValueError():  # ValueError: of a header
            return ERRORS.FETCH_ERROR, reason
    raise error


def _proxy(scheme: str, host: str, authority: str) -> urllib.parse.SplitResult | None:
    """Return the proxy of the server's environment; this machine needs none."""
    proxy = urllib.request.getproxies().get(scheme)
    if not proxy or is_this_machine(_unmapped(host)):
        return None
    if urllib.request.proxy_bypass(authority):
        return None
    return urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")


def _unmapped(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower().rstrip(".")
    return str(getattr(address, "ipv4_mapped", None) or address)


def fail(code: int, reason: str) -> NoReturn:
    """Raise the error that the client raises in the app."""
    raise apiproxy_errors.ApplicationError(code, reason)
