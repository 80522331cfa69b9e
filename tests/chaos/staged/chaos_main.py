"""The app as it is, with one route beside it: POST /chaos/add?NAME defers one task.

An answer of 200 says that the task is queued, now or by an earlier request.
"""

import contextlib
from collections.abc import Iterable
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import main
from google.appengine.api import taskqueue, wrap_wsgi_app
from google.appengine.ext import deferred

from shared import counter


def add(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Defer the app's own function under the name, and to the URL, that are given."""
    wanted = {
        name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()
    }
    with contextlib.suppress(
        taskqueue.TaskAlreadyExistsError, taskqueue.TombstonedTaskError
    ):
        deferred.defer(
            *(counter.do_something_later, counter.my_key, 10),
            _name=wanted["name"],
            _url=wanted["url"],
        )
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"queued\n"]


route: WSGIApplication = wrap_wsgi_app(add)


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer the one route, and leave the rest to the app."""
    if environ["PATH_INFO"] == "/chaos/add":
        return route(environ, start_response)
    application: WSGIApplication = main.app
    return application(environ, start_response)
