"""An app with one counter that both NDB libraries count on.

GET /NAME?[...] calls one of the functions in ROUTES; the answer is JSON.
"""

import json
import os
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any
from urllib.parse import parse_qsl
from wsgiref.types import StartResponse, WSGIEnvironment

from google.appengine.api import wrap_wsgi_app
from google.appengine.ext import ndb as bundled
from google.cloud import ndb as cloud

KEY = "both"
RETRIES = 20

client = cloud.Client(project=os.environ["GOOGLE_CLOUD_PROJECT"])
CONTEXTS: dict[str, Callable[[], Any]] = {
    "bundled": nullcontext,  # wrap_wsgi_app makes one for each request
    "cloud": client.context,
}


class BundledCounter(bundled.Model):
    """The counter of google.appengine.ext.ndb."""

    _use_memcache = False  # a write of Cloud NDB does not change the cache
    count = bundled.IntegerProperty()

    @classmethod
    def _get_kind(cls) -> str:
        return "Counter"


class CloudCounter(cloud.Model):
    """The counter of google.cloud.ndb."""

    count = cloud.IntegerProperty()

    @classmethod
    def _get_kind(cls) -> str:
        return "Counter"


COUNTERS: dict[str, Any] = {"bundled": BundledCounter, "cloud": CloudCounter}


def change(
    counter: Any, amount: int, in_between: Callable[[], None] = lambda: None
) -> None:
    """Read the counter, do something in between, and write the sum."""
    entity = counter.get_or_insert(KEY, count=0)
    in_between()
    entity.count += amount
    entity.put()


TRANSACTIONS: dict[str, Callable[..., None]] = {
    "bundled": bundled.transactional(retries=RETRIES)(change),
    "cloud": cloud.transactional(retries=RETRIES)(change),
}


def add(library: str, amount: str) -> None:
    """Add to the counter in a transaction of one library."""
    with CONTEXTS[library]():
        TRANSACTIONS[library](COUNTERS[library], int(amount))


def count(library: str) -> int:
    """Return the count as one library reads it."""
    with CONTEXTS[library]():
        return COUNTERS[library].get_by_id(KEY).count


def overtake(library: str, other: str) -> int:
    """Let the other library commit during a transaction; return the attempts."""
    attempts = 0

    def in_between() -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            add(other, "100")

    with CONTEXTS[library]():
        TRANSACTIONS[library](COUNTERS[library], 10, in_between)
    return attempts


ROUTES: dict[str, Callable[..., Any]] = {
    f"/{function.__name__}": function for function in (add, count, overtake)
}


def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Call a function with the arguments in the query."""
    function = ROUTES[environ["PATH_INFO"]]
    answer = function(**dict(parse_qsl(environ["QUERY_STRING"])))
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]


app = wrap_wsgi_app(serve)
