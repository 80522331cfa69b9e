"""A Pyramid app."""

import work
from google.appengine.api import wrap_wsgi_app
from pyramid.config import Configurator
from pyramid.response import Response


def serve(request):
    """Answer each request."""
    return Response(work.answer(request.path, request.POST.get("text")))


with Configurator() as config:
    config.add_route("all", "/*path")
    config.add_view(serve, route_name="all")
    app = wrap_wsgi_app(config.make_wsgi_app(), use_deferred=True)
