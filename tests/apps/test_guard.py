"""shared/guard.py as WSGI, checked on both sides by wsgiref.validate."""

import contextlib
import io
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from shared import guard as guard_module
from shared.guard import guard

TASK = "0.1.0.2"
CLIENT = "203.0.113.9"


def inner(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer as the app behind the guard."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"inner"]


guarded: WSGIApplication = validator(guard(validator(inner)))


def call(method: str, path: str, **headers: str) -> tuple[str, dict[str, str], bytes]:
    """Call the guarded app; return status line, headers and body."""
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "wsgi.input": io.BytesIO(),
    }
    environ |= {f"HTTP_X_APPENGINE_{name}": value for name, value in headers.items()}
    setup_testing_defaults(environ)
    started: list[tuple[str, dict[str, str]]] = []

    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: object = None
    ) -> object:
        started.append((status, dict(headers)))
        return lambda data: None

    answer = guarded(environ, start_response)  # type: ignore[arg-type]
    with contextlib.closing(answer):  # type: ignore[type-var]
        body = b"".join(answer)
    [(status, response_headers)] = started
    return status, response_headers, body


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_deferred_url_takes_only_post(method: str) -> None:
    """Any other method is a 405 that says so, in plain text."""
    status, headers, body = call(method, "/_ah/queue/deferred")

    assert status == "405 Method Not Allowed"
    assert headers == {"Content-Type": "text/plain", "Allow": "POST"}
    assert body


def test_post_passes() -> None:
    """The task queue's method goes to the app."""
    assert call("POST", "/_ah/queue/deferred")[2] == b"inner"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/", "/custom/path", "/_ah/queue/deferred/x"])
def test_other_paths_pass(method: str, path: str) -> None:
    """The methods of other paths are the app's own business."""
    assert call(method, path)[2] == b"inner"


BELIEVED = {
    "App Engine": {"USER_IP": TASK},
    "a client of App Engine": {"USER_IP": CLIENT},
    "embedded server": {"USER_IP": TASK, "REMOTE_ADDR": TASK},
    "a client of the embedded server": {"USER_IP": CLIENT, "REMOTE_ADDR": CLIENT},
    "not internal": {"USER_IP": CLIENT, "REMOTE_ADDR": "198.51.100.1"},
}
REFUSED = {
    "lie": {"USER_IP": CLIENT, "REMOTE_ADDR": TASK},
    "lie about the warm-up": {"USER_IP": CLIENT, "REMOTE_ADDR": "0.1.0.3"},
    "lie of one who claims to be the cron": {"USER_IP": "0.1.0.1", "REMOTE_ADDR": TASK},
    "empty": {"USER_IP": "", "REMOTE_ADDR": TASK},
    "repeated": {"USER_IP": TASK, "REMOTE_ADDR": f"{TASK},{TASK}"},
}
DEV_APPSERVER = {
    "task": {"REMOTE_ADDR": TASK},
    "warm-up": {"REMOTE_ADDR": "0.1.0.3"},
}


def is_refused(headers: dict[str, str]) -> bool:
    """Tell whether the guard answers 403, in plain text, on any path."""
    answers = [
        call("POST", path, **headers)
        for path in ("/_ah/queue/deferred", "/custom/path", "/counter/get")
    ]
    refused = [status == "403 Forbidden" for status, _, _ in answers]
    assert all(refused) or not any(refused)
    for _, sent, _ in answers:
        assert sent["Content-Type"] == "text/plain"
    return all(refused)


@pytest.fixture(params=[True, False], ids=["localdev", "App Engine"])
def on_dev_server(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> bool:
    """The guard on a dev server, and on App Engine."""
    monkeypatch.setattr(guard_module, "on_dev_server", request.param)
    return bool(request.param)


@pytest.mark.parametrize("headers", BELIEVED.values(), ids=BELIEVED)
def test_believed(headers: dict[str, str], on_dev_server: bool) -> None:
    """Who does not contradict himself is let through; the app decides."""
    assert not is_refused(headers)


@pytest.mark.parametrize("headers", REFUSED.values(), ids=REFUSED)
def test_refused(headers: dict[str, str], on_dev_server: bool) -> None:
    """An internal Remote-Addr that User-IP does not confirm is refused."""
    assert is_refused(headers)


@pytest.mark.parametrize("headers", DEV_APPSERVER.values(), ids=DEV_APPSERVER)
def test_dev_appserver(headers: dict[str, str], on_dev_server: bool) -> None:
    """dev_appserver.py sends no User-IP: it need not, but App Engine must."""
    assert is_refused(headers) == (not on_dev_server)


@pytest.mark.parametrize("headers", DEV_APPSERVER.values(), ids=DEV_APPSERVER)
@pytest.mark.parametrize("user_ip", [{}, {"USER_IP": TASK}], ids=["-", "User-IP"])
def test_client_of_dev_appserver(
    headers: dict[str, str],
    user_ip: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What came in by its port has Server-Software, its own or the client's."""
    monkeypatch.setattr(guard_module, "on_dev_server", True)

    for software in ("Development/2.0", ""):
        assert is_refused(headers | user_ip | {"SERVER_SOFTWARE": software})
    assert not is_refused({"REMOTE_ADDR": CLIENT, "SERVER_SOFTWARE": "Development/2.0"})
