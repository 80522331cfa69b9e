"""The Deferred API in an app without a framework."""

import logging
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

from google.appengine.api import wrap_wsgi_app
from google.appengine.ext import deferred

from shared.counter import Counter, do_something_later, my_key
from shared.deferred_handler import CustomDeferredHandler
from shared.guard import guard

# The handler logs at INFO. Without this line, Python shows warnings only.
logging.basicConfig(level=logging.INFO)


# [START deferred_views]
def increment_counter(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    """Add to the counter three times: now, in one minute and in two minutes."""
    # Run the function as soon as possible, through the SDK's URL and the default queue.
    deferred.defer(do_something_later, my_key, 10)

    # The same, in one minute.
    deferred.defer(do_something_later, my_key, 10, _countdown=60)

    # In two minutes, through a URL of this app.
    deferred.defer(do_something_later, my_key, 10, _url="/custom/path", _countdown=120)

    start_response("200 OK", [("Content-Type", "text/html")])
    return [b"Deferred counter increment."]


def view_counter(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    """Show the count."""
    counter = Counter.get_by_id(my_key)  # unlike get_or_insert, it stores nothing
    start_response("200 OK", [("Content-Type", "text/html")])
    return [str(counter.count if counter else 0).encode("utf-8")]


def custom_deferred(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    """Run a task that was deferred to this URL."""
    response, status, headers = CustomDeferredHandler().post(environ)
    start_response(f"{status.value} {status.phrase}", headers)
    return [response.encode("utf-8")]


# [END deferred_views]

routes = {
    "/counter/increment": (increment_counter, ["GET"]),  # HEAD must not defer
    "/counter/get": (view_counter, ["GET", "HEAD"]),
    "/custom/path": (custom_deferred, ["POST"]),
}


def application(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    """Call the view of this exact path."""
    view, methods = routes.get(environ["PATH_INFO"], (None, []))
    if view is None:
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"Not found"]
    if environ["REQUEST_METHOD"] not in methods:
        headers = [("Content-Type", "text/plain"), ("Allow", ", ".join(methods))]
        start_response("405 Method Not Allowed", headers)
        return [b"Method not allowed"]
    return view(environ, start_response)


# use_deferred=True serves /_ah/queue/deferred. The guard refuses forged tasks, so it
# must be the outermost.
app = guard(wrap_wsgi_app(application, use_deferred=True))
