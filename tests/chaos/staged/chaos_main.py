"""The app as it is, with one route beside it: POST /chaos/add?NAME defers one task.

An answer of 200 says that the task is queued, now or by an earlier request. The name of
each task that the app has added is written down once the server has acknowledged it.
"""

import contextlib
import functools
import pathlib
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import main
from google.appengine.api import taskqueue, wrap_wsgi_app
from google.appengine.ext import deferred

from shared import counter

ADDED = pathlib.Path(__file__).with_name("added.txt")

defer = deferred.defer


@functools.wraps(defer)
def defer_and_note(*args: Any, **options: Any) -> Any:
    """Defer, and then write the name down; a worker may be killed before it is."""
    task = defer(*args, **options)
    with ADDED.open("a") as file:
        # one write, which appends it whole among those of other processes
        file.write(f"{task.name}\n")
    return task


# the apps call it by its module
deferred.defer = defer_and_note


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
