"""A Bottle app."""

import bottle
import work
from google.appengine.api import wrap_wsgi_app


@bottle.route("<path:path>", method=["GET", "POST"])
def serve(path):
    """Answer each request."""
    return work.answer(path, bottle.request.forms.get("text"))


app = wrap_wsgi_app(bottle.default_app(), use_deferred=True)
