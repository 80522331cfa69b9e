"""Cloud NDB in the place of bundled NDB, where app.yaml says COUNTER_NDB: cloud.

Under COUNTER_NDB: bundled, it only keeps the counter out of memcache. To do without it,
delete this file, and the line in counter.py and in each requirements.txt that names it.
"""

import functools
import os
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from google.appengine.api import namespace_manager


# [START deferred_cloud_ndb]
def cloud_ndb() -> SimpleNamespace:
    """Return Cloud NDB, made to fit what was written for bundled NDB."""
    from google.cloud import ndb

    # One client for each process, and none before a request needs it: gunicorn forks
    # first, and gRPC does not promise to work in a child after that.
    @functools.cache
    def client(process: int) -> Any:
        return ndb.Client(project=os.environ["GOOGLE_CLOUD_PROJECT"])

    lock = threading.Lock()  # two threads at once would make a client each
    if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
        # A child has no other threads, and nobody would free a lock that one held.
        free = {"after_in_parent": lock.release, "after_in_child": lock.release}
        os.register_at_fork(before=lock.acquire, **free)

    def in_context(function: Callable[..., Any]) -> Callable[..., Any]:
        """Give a function the context that all calls of Cloud NDB have to be in."""

        @functools.wraps(function)  # tasks name the function, and not this wrapper
        def wrapper(*args: Any, **options: Any) -> Any:
            if ndb.get_context(raise_context_error=False):
                return function(*args, **options)  # contexts cannot be nested
            with lock:
                connected = client(os.getpid())
            # Bundled NDB looks up the namespace itself.
            with connected.context(namespace=namespace_manager.get_namespace()):
                return function(*args, **options)

        return wrapper

    class Model(ndb.Model):
        @classmethod  # a view can read with no context of its own
        @in_context
        def get_by_id(cls, *args: Any, **options: Any) -> Any:
            return super().get_by_id(*args, **options)

    def transactional(function: Callable[..., Any]) -> Callable[..., Any]:
        return in_context(ndb.transactional()(function))  # these () have to be

    changed = {"Model": Model, "transactional": transactional}
    return SimpleNamespace(**{**vars(ndb), **changed})


# [END deferred_cloud_ndb]
def bundled_ndb() -> SimpleNamespace:
    """Return the same of bundled NDB, for entities that Cloud NDB may write too."""
    from google.appengine.ext import ndb

    class Model(ndb.Model):
        _use_memcache = False  # Cloud NDB would write past it

    return SimpleNamespace(**{**vars(ndb), "Model": Model})


libraries = {"bundled": bundled_ndb, "cloud": cloud_ndb}
chosen = os.environ.get("COUNTER_NDB", "bundled")
if chosen not in libraries:
    sys.exit(f"COUNTER_NDB is {chosen!r}. Set it to bundled or cloud in app.yaml.")
ndb = libraries[chosen]()
