"""An app without a framework."""

from urllib.parse import parse_qs

import work
from google.appengine.api import wrap_wsgi_app


def serve(environ, start_response):
    """Answer each request."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    form = parse_qs(body.decode())
    text = work.answer(environ["PATH_INFO"], *form.get("text", []))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [text.encode()]


app = wrap_wsgi_app(serve, use_legacy_context_mode=True, use_deferred=True)
