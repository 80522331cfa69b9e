"""The counter, stored with Cloud NDB. This file takes the place of counter.py."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from google.appengine.api import namespace_manager
from google.cloud import ndb

from shared.once import first_delivery

my_key = os.environ.get("GAE_VERSION", "Missing")
if os.environ.get("GAE_ENV") == "localdev":  # one key for all versions
    my_key = "localdev"

new_client = cache(ndb.Client)
lock = threading.Lock()


@contextmanager
def context() -> Iterator[None]:
    """Open the context that Cloud NDB requires, in the namespace of bundled NDB."""
    # Not on import: gRPC does not survive the fork that starts gunicorn's workers.
    with lock:  # otherwise each of the first threads would make a client
        client = new_client(project=os.environ["GOOGLE_CLOUD_PROJECT"])
    with client.context(namespace=namespace_manager.get_namespace()):
        yield


class Counter(ndb.Model):
    """A count."""

    count = ndb.IntegerProperty(indexed=False)

    @classmethod
    @context()  # so that main.py does not need one
    def get_by_id(cls, key: str) -> "Counter | None":
        """Read the counter that has this key."""
        return super().get_by_id(key)


class FinishedTask(ndb.Model):
    """A task that has been counted. Its parent is the counter."""

    expires = ndb.DateTimeProperty(indexed=False)


@context()
@ndb.transactional()  # Cloud NDB requires the parentheses
def do_something_later(key: str, amount: int) -> None:
    """Add an amount to the counter that has this key."""
    entity = Counter.get_or_insert(key, count=0)
    record = first_delivery(FinishedTask, entity.key)
    if record is None:  # a queue may deliver a task twice
        return
    entity.count += amount
    ndb.put_multi([entity, record])
