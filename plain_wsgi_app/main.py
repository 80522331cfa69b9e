"""The Deferred API in an app without a framework."""

import logging
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

from google.appengine.api import wrap_wsgi_app
from google.appengine.ext import deferred

from shared.counter import Counter, do_something_later, my_key
from shared.deferred_handler import CustomDeferredHandler
from shared.guard import guard

# Python shows warnings only, unless told otherwise; what tasks do is logged as info.
logging.basicConfig(level=logging.INFO)


# [START deferred_view_counter]
def view_counter(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    """Show the count."""
    # get_by_id, not the page's get_or_insert: reading does not write.
    entity = Counter.get_by_id(my_key)
    count = entity.count if entity else 0
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(count).encode()]


# [END deferred_view_counter]
# [START deferred_increment_counter]
def increment_counter(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    """Add to the counter three times: now, in a minute and in two."""
    # The default URL, as soon as possible.
    deferred.defer(do_something_later, my_key, 10)
    # The default URL, after 60 seconds.
    deferred.defer(do_something_later, my_key, 10, _countdown=60)
    # A URL of this app, after 120 seconds.
    deferred.defer(do_something_later, my_key, 10, _url="/custom/path", _countdown=120)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Deferred counter increment."]


# [END deferred_increment_counter]
# [START deferred_custom_deferred]
def custom_deferred(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    """Run a task that was deferred to this URL."""
    text, status, headers = CustomDeferredHandler().post(environ)
    start_response(f"{status.value} {status.phrase}", headers)
    return [text.encode()]


# [END deferred_custom_deferred]

routes = {
    "/counter/get": (view_counter, ["GET", "HEAD"]),
    "/counter/increment": (increment_counter, ["GET"]),  # HEAD must not defer tasks
    "/custom/path": (custom_deferred, ["POST"]),
}


def application(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    """Call the view whose path is, to the letter, the one that was asked for."""
    view, methods = routes.get(environ["PATH_INFO"], (None, []))
    if view is None:
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"Not found.\n"]
    if environ["REQUEST_METHOD"] not in methods:
        headers = [("Content-Type", "text/plain"), ("Allow", ", ".join(methods))]
        start_response("405 Method Not Allowed", headers)
        return [b"Method not allowed.\n"]
    return view(environ, start_response)


# [START deferred_wrap_wsgi_app]
# use_deferred=True adds the default URL; the guard must be outside.
app = guard(wrap_wsgi_app(application, use_deferred=True))
# [END deferred_wrap_wsgi_app]
