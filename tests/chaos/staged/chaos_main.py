"""The app with two more routes: POST /chaos/add and /chaos/commit?name=NAME&url=URL.

The first defers one task. 200 means that it is queued, now or by an earlier request.
The name of each task is recorded when the server has acknowledged it to the app. The
second defers one in a transaction, and may end its process after the commit.
"""

import contextlib
import functools
import os
import pathlib
import random
import signal
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl
from wsgiref.types import StartResponse, WSGIEnvironment

import main
from google.appengine.api import taskqueue, wrap_wsgi_app
from google.appengine.api.taskqueue import cloudtask_transactional
from google.appengine.ext import deferred, ndb

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


class Committed(ndb.Model):
    """What the transaction of a request has written."""


def commit(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Defer the app's own function in a transaction, once for each name."""
    wanted = dict(parse_qsl(environ["QUERY_STRING"]))

    def work() -> None:
        if Committed.get_by_id(wanted["name"]):
            return
        Committed(id=wanted["name"]).put()
        ndb.get_context().call_on_commit(may_die)  # before the SDK sends the task
        args = (counter.my_key, 10)
        deferred.defer(
            counter.do_something_later, *args, _url=wanted["url"], _transactional=True
        )

    ndb.transaction(work, xg=True)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"committed\n"]


def may_die() -> None:
    """End this process, with all requests in it, at some of the calls of a visitor."""
    is_sweep = "HTTP_X_APPENGINE_CRON" in os.environ
    if random.random() < 0.05 and not is_sweep:
        os.kill(os.getpid(), signal.SIGKILL)


send = cloudtask_transactional.dispatch_task_payload


@functools.wraps(send)
def send_and_may_die(*args: Any) -> None:
    """Send a task to Cloud Tasks, which is locked before and forgotten afterwards."""
    may_die()
    send(*args)
    may_die()


cloudtask_transactional.dispatch_task_payload = send_and_may_die

ROUTES = {"/chaos/add": wrap_wsgi_app(add), "/chaos/commit": wrap_wsgi_app(commit)}


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer these routes, and leave the rest to the app."""
    return ROUTES.get(environ["PATH_INFO"], main.app)(environ, start_response)
