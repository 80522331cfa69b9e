"""An app that defers a function, and records each run of it.

POST /defer?function=NAME&label=TEXT defers note or hold. Other parameters, such as
_name and _countdown, go to deferred.defer. The answer is 409 if the name is taken.
_eta is in seconds from now; the app gives it as a time in UTC, without its zone.
"""

import datetime
import json
import os
import pathlib
import threading
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl
from wsgiref.types import StartResponse, WSGIEnvironment

from google.appengine.api import taskqueue, wrap_wsgi_app
from google.appengine.ext import deferred

FOLDER = pathlib.Path(__file__).parent
RUNS = FOLDER / "runs.jsonl"
RELEASE = FOLDER / "release"
"""While this file is missing, `hold` does not return."""

HOLD_SECONDS = 20.0
"""Seconds after which `hold` gives up waiting."""


def note(label: str) -> None:
    """Record one run, with the number of attempts before it."""
    retries = os.environ["HTTP_X_APPENGINE_TASKRETRYCOUNT"]
    # one write to a file opened for appending: tasks run at the same time
    with RUNS.open("ab", buffering=0) as file:
        file.write(json.dumps([label, retries]).encode() + b"\n")


def hold(label: str) -> None:
    """Record the run, and wait until the test makes the file."""
    note(label)
    pause = threading.Event()
    deadline = time.monotonic() + HOLD_SECONDS
    while not RELEASE.exists() and time.monotonic() < deadline:
        pause.wait(0.01)


FUNCTIONS = {"note": note, "hold": hold}


def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Defer the function that the query names."""
    if environ["PATH_INFO"] != "/defer":
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"only /defer is here"]
    query: dict[str, Any] = {**dict(parse_qsl(environ["QUERY_STRING"]))}
    function = FUNCTIONS[query.pop("function")]
    if "_countdown" in query:
        query["_countdown"] = float(query["_countdown"])
    if "_eta" in query:
        after = datetime.timedelta(seconds=float(query["_eta"]))
        now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
        query["_eta"] = now + after
    status = "200 OK"
    try:
        deferred.defer(function, query.pop("label"), **query)
    except (taskqueue.TaskAlreadyExistsError, taskqueue.TombstonedTaskError):
        status = "409 Conflict"
    start_response(status, [("Content-Type", "text/plain")])
    return []


app = wrap_wsgi_app(serve, use_deferred=True)
