"""Refuse requests that the SDK would mistake for a task, or cannot answer."""

import os
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

DEFERRED_URL = "/_ah/queue/deferred"

# App Engine's own requests come from addresses that start with this.
INTERNAL = "0.1.0."

# Read on import: the guard runs outside wrap_wsgi_app, where os.environ may be empty.
on_dev_server = os.environ.get("GAE_ENV") == "localdev"


def guard(app: WSGIApplication) -> WSGIApplication:
    """Wrap an app that wrap_wsgi_app has wrapped.

    wrap_wsgi_app answers DEFERRED_URL itself, before your routes see the request, and
    sends no valid answer unless the method is POST. So the guard must be the outermost.
    """

    def guarded(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        headers = [("Content-Type", "text/plain")]
        if is_forged(environ):
            start_response("403 Forbidden", headers)
            return [b"Forged X-AppEngine-Remote-Addr.\n"]
        if environ["PATH_INFO"] == DEFERRED_URL and environ["REQUEST_METHOD"] != "POST":
            start_response("405 Method Not Allowed", [*headers, ("Allow", "POST")])
            return [b"Only the task queue's POST is allowed here.\n"]
        return app(environ, start_response)

    return guarded


def is_forged(environ: WSGIEnvironment) -> bool:
    """Return whether a request only claims to come from App Engine itself.

    The SDK trusts X-AppEngine-Remote-Addr (runtime/middlewares.py), which a client can
    send. X-AppEngine-User-IP always comes from App Engine, so the two must agree.
    """
    remote_addr = environ.get("HTTP_X_APPENGINE_REMOTE_ADDR", "")
    if not remote_addr.startswith(INTERNAL):
        return False
    user_ip = environ.get("HTTP_X_APPENGINE_USER_IP")
    if on_dev_server:
        # dev_appserver.py sends no User-IP. It adds Server-Software to each request
        # that arrives at its own port, and never to a task.
        if "HTTP_X_APPENGINE_SERVER_SOFTWARE" in environ:
            return True
        if user_ip is None:
            return False
    return remote_addr != user_ip
