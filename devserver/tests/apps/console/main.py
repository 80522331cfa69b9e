"""An app whose functions a test calls, to give the console something to show.

GET /call/NAME?args=[...] calls a function of this module with these arguments in JSON,
and answers with its result. Any other path is 404.
"""

import json
import logging
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIEnvironment

from google.appengine.api import wrap_wsgi_app
from google.appengine.ext import deferred, ndb


class Item(ndb.Model):
    """What `put` stores."""

    text = ndb.StringProperty()


def defer(name: str, *args: Any, **options: Any) -> str:
    """Defer a function of this module; return the name of the task."""
    task_name: str = deferred.defer(globals()[name], *args, **options).name
    return task_name


def defer_many(count: int, first: float, step: float, queue: str = "default") -> None:
    """Defer `work` many times, the first one in `first` seconds."""
    for number in range(count):
        deferred.defer(work, number, _countdown=first + number * step, _queue=queue)


def work(label: object = "") -> None:
    """Do nothing, as a task."""
    logging.getLogger("app").info("work %s", label)


def explode(text: str = "boom") -> None:
    """Fail."""
    raise ValueError(text)


def give_up(text: str = "no use") -> None:
    """Fail for good."""
    raise deferred.PermanentTaskFailure(text)


def put(text: str, count: int = 1) -> None:
    """Store entities."""
    ndb.put_multi([Item(text=text) for _ in range(count)])


def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Call the function that the path names."""
    _, where, name = (environ["PATH_INFO"] + "//").split("/", 2)
    function = globals().get(name.strip("/"))
    if where != "call" or function is None:
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"There is nothing here.\n"]
    query = parse_qs(environ["QUERY_STRING"])
    args, kwargs = (
        json.loads(query.get(field, [default])[0])
        for field, default in (("args", "[]"), ("kwargs", "{}"))
    )
    result = function(*args, **kwargs)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(result).encode()]


app = wrap_wsgi_app(serve, use_deferred=True)
