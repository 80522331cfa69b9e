"""An app with one counter that both NDB libraries count on.

GET /bundled and GET /cloud add 1 in a transaction of one library, and answer the sum.
"""

import os
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from google.appengine.api import wrap_wsgi_app
from google.appengine.ext import ndb as bundled
from google.cloud import ndb as cloud

client = cloud.Client(project=os.environ["GOOGLE_CLOUD_PROJECT"])


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


def add(counter: Any) -> int:
    """Add 1 to the counter and return its count."""
    entity = counter.get_or_insert("both", count=0)
    entity.count += 1
    entity.put()
    return entity.count


def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Add to the counter with the library in the path."""
    in_cloud = environ["PATH_INFO"] == "/cloud"
    ndb, counter = (cloud, CloudCounter) if in_cloud else (bundled, BundledCounter)
    # wrap_wsgi_app makes a context of the bundled library for each request.
    with client.context() if in_cloud else nullcontext():
        count = ndb.transaction(lambda: add(counter), retries=20)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(count).encode()]


app = wrap_wsgi_app(serve)
