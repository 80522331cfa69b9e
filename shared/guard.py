"""Refuse requests that the SDK would take for a task, or cannot answer."""

import os
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

DEFERRED_URL = "/_ah/queue/deferred"

# App Engine's own requests come from addresses that start so; tasks from 0.1.0.2.
INTERNAL = "0.1.0."

# Read here: inside a request, but outside wrap_wsgi_app, os.environ may be empty.
on_dev_server = os.environ.get("GAE_ENV") == "localdev"


# [START deferred_guard]
def guard(app: WSGIApplication) -> WSGIApplication:
    """Wrap an app that wrap_wsgi_app has wrapped.

    The order matters: wrap_wsgi_app answers DEFERRED_URL itself, before the routes of
    an app see the request, and fails with a 500 when the method is not POST.
    """

    def guarded(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        headers = [("Content-Type", "text/plain")]
        if is_forged(environ):
            start_response("403 Forbidden", headers)
            return [b"X-AppEngine-Remote-Addr is not to be believed.\n"]
        if environ["PATH_INFO"] == DEFERRED_URL and environ["REQUEST_METHOD"] != "POST":
            start_response("405 Method Not Allowed", [*headers, ("Allow", "POST")])
            return [b"Only the task queue's POST is allowed here.\n"]
        return app(environ, start_response)

    return guarded


# [END deferred_guard]


def is_forged(environ: WSGIEnvironment) -> bool:
    """Tell whether a request only claims to come from App Engine itself.

    App Engine writes the sender to X-AppEngine-User-IP, over whatever a client sent.
    The SDK believes X-AppEngine-Remote-Addr more (runtime/middlewares.py), which may be
    a client's: so it must say the same.
    """
    remote_addr: str = environ.get("HTTP_X_APPENGINE_REMOTE_ADDR", "")
    if not remote_addr.startswith(INTERNAL):
        return False
    user_ip: str | None = environ.get("HTTP_X_APPENGINE_USER_IP")
    if on_dev_server:
        # dev_appserver.py writes no User-IP. What it adds to each request that comes in
        # by its own port, and to none of its tasks, is Server-Software.
        if "HTTP_X_APPENGINE_SERVER_SOFTWARE" in environ:
            return True
        if user_ip is None:
            return False
    return remote_addr != user_ip
