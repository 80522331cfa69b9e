"""The app with one more route: POST /chaos/add?name=NAME&url=URL defers one task.

200 means that the task is queued, now or by an earlier request. The name of each task
is recorded when the server has acknowledged it to the app.
"""

import contextlib
import functools
import pathlib
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl
from wsgiref.types import StartResponse, WSGIEnvironment

import main
from google.appengine.api import taskqueue, wrap_wsgi_app
from google.appengine.ext import deferred

from shared import counter

ADDED = pathlib.Path(__file__).with_name("added.txt")

defer = deferred.defer


@functools.wraps(defer)
def defer_and_note(*args: Any, **options: Any) -> Any:
    """Defer, and then record the name; a worker may be killed between the two."""
    task = defer(*args, **options)
    with ADDED.open("a") as file:
        # one write, because several processes append at the same time
        file.write(f"{task.name}\n")
    return task


# the apps call deferred.defer by this name
deferred.defer = defer_and_note


def add(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Defer the app's own function with the name and the URL of the request."""
    wanted = dict(parse_qsl(environ["QUERY_STRING"]))
    with contextlib.suppress(
        taskqueue.TaskAlreadyExistsError, taskqueue.TombstonedTaskError
    ):
        deferred.defer(
            counter.do_something_later,
            counter.my_key,
            10,
            _name=wanted["name"],
            _url=wanted["url"],
        )
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"queued\n"]


route = wrap_wsgi_app(add)


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer this route, and leave the rest to the app."""
    is_add = environ["PATH_INFO"] == "/chaos/add"
    return (route if is_add else main.app)(environ, start_response)
