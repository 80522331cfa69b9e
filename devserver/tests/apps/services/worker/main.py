"""The service worker: no framework."""

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

import jobs
from google.appengine.api import wrap_wsgi_app


def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer each request."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [jobs.answer("none", environ).encode()]


app = wrap_wsgi_app(serve, use_deferred=True)
