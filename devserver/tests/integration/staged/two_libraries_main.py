"""The contract's app with one counter that both libraries count on, in any setting."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from contract_cases import case
from contract_main import app
from google.appengine.ext import ndb as bundled
from google.cloud import ndb as cloud
from shared.cloud_ndb import bundled_ndb, cloud_ndb

__all__ = ["app"]

KEY = "both"


def make_counter(ndb: Any) -> tuple[Any, Callable[..., None]]:
    """Return Counter and a transaction on it, as shared/counter.py has them."""

    class Counter(ndb.Model):
        count = ndb.IntegerProperty()

    @ndb.transactional
    def add(amount: int, in_between: Callable[[], None] = lambda: None) -> None:
        entity = Counter.get_or_insert(KEY, count=0)
        in_between()
        entity.count += amount
        entity.put()

    return Counter, add


COUNTERS = {"bundled": make_counter(bundled_ndb()), "cloud": make_counter(cloud_ndb())}


@case
def add(library: str, amount: int) -> None:
    """Add to the counter in a transaction of one library."""
    COUNTERS[library][1](amount)


@case
def count(library: str) -> int:
    """Return the count as one library reads it."""
    found: int = COUNTERS[library][0].get_by_id(KEY).count
    return found


@case
def overtake(library: str, other: str) -> int:
    """Let another library's transaction commit in the middle; return the attempts."""
    attempts = 0

    def in_between() -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            COUNTERS[other][1](100)

    COUNTERS[library][1](10, in_between)
    return attempts


@case
def query(library: str, at_least: int) -> list[str]:
    """Return the names of the counters that a query of one library finds."""
    model, _ = COUNTERS[library]
    # bundled NDB has a context in each request
    with client().context() if library == "cloud" else nullcontext():
        keys = model.query(model.count >= at_least).fetch(keys_only=True)
    return [key.id() for key in keys]


@case
def urlsafe_keys() -> list[str]:
    """Return the counter's key in its form for URLs, of each library."""
    with client().context():
        own = cloud.Key("Counter", KEY).to_legacy_urlsafe(location_prefix="dev~")
    return [bundled.Key("Counter", KEY).urlsafe().decode(), own.decode()]


def client() -> Any:
    """Return a client that is used once."""
    return cloud.Client(project=os.environ["GOOGLE_CLOUD_PROJECT"])
