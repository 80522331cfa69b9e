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
    "bundled": nullcontext,  # wrap_wsgi_app has made one
    "cloud": client.context,
}


class BundledCounter(bundled.Model):
    """The counter of google.appengine.ext.ndb."""

    _use_memcache = False  # Cloud NDB writes past it
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
        found: int = COUNTERS[library].get_by_id(KEY).count
        return found


def overtake(library: str, other: str) -> int:
    """Let another library's transaction commit in the middle; return the attempts."""
    attempts = 0

    def in_between() -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            add(other, "100")

    with CONTEXTS[library]():
        TRANSACTIONS[library](COUNTERS[library], 10, in_between)
    return attempts


def query(library: str, at_least: str) -> list[str]:
    """Return the names of the counters that a query of one library finds."""
    counter = COUNTERS[library]
    with CONTEXTS[library]():
        keys = counter.query(counter.count >= int(at_least)).fetch(keys_only=True)
        return [key.id() for key in keys]


def urlsafe_keys() -> list[str]:
    """Return the counter's key in its form for URLs, of each library."""
    with client.context():
        own = cloud.Key("Counter", KEY).to_legacy_urlsafe(location_prefix="dev~")
    return [bundled.Key("Counter", KEY).urlsafe().decode(), own.decode()]


ROUTES: dict[str, Callable[..., Any]] = {
    f"/{function.__name__}": function
    for function in (add, count, overtake, query, urlsafe_keys)
}


def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Call a function with the arguments in the query."""
    function = ROUTES[environ["PATH_INFO"]]
    answer = function(**dict(parse_qsl(environ["QUERY_STRING"])))
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]


app = wrap_wsgi_app(serve)
