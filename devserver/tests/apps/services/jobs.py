"""What each service does, whatever its framework is: the last word of the path."""

import json
import os
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from google.appengine.api import memcache, modules, urlfetch, users
from google.appengine.ext import deferred, ndb

# read on import, before the SDK replaces os.environ for each request
SERVICE, VERSION = os.environ["GAE_SERVICE"], os.environ["GAE_VERSION"]
HOLD_SECONDS = 20.0


class Run(ndb.Model):
    """A run of `record`; a second run with the same label is another entity."""

    label = ndb.StringProperty()
    service = ndb.StringProperty()


def record(label: str) -> None:
    """Store which service runs this."""
    Run(label=label, service=SERVICE).put()


def who() -> dict[str, Any]:
    """Return what the service knows about itself, and its visitor."""
    user = users.get_current_user()
    return {
        "service": SERVICE,
        "version": VERSION,
        "module": modules.get_current_module_name(),
        "user": user and user.email(),
        "pids": [os.getppid(), os.getpid()],
    }


def defer(label: str, **options: str) -> str | None:
    """Defer `record`; return an error as text."""
    try:
        deferred.defer(record, label, **options)
    except Exception as error:  # noqa: BLE001 - the test looks at any
        return f"{type(error).__name__}: {error}"
    return None


def share(key: str, value: str | None = None) -> Any:
    """Set a value of memcache, or get it."""
    if value is not None:
        memcache.set(key, value)
    return memcache.get(key)


def hold(key: str) -> Any:
    """Wait until another service shares this value."""
    memcache.set(f"{key}-waits", True)
    deadline, pause = time.monotonic() + HOLD_SECONDS, threading.Event()
    while not memcache.get(key) and time.monotonic() < deadline:
        pause.wait(0.01)
    return memcache.get(key)


def names(service: str) -> dict[str, Any]:
    """Return what the modules API says about a service."""
    return {
        "modules": sorted(modules.get_modules()),
        "versions": list(modules.get_versions(service)),
        "hostname": modules.get_hostname(service),
    }


def fetch(service: str) -> Any:
    """Fetch `who` from another service."""
    url = f"http://{modules.get_hostname(service)}/admin/who"
    # with redirects, App Engine does not say who sends the request
    return json.loads(urlfetch.fetch(url, follow_redirects=False).content)


ACTIONS = {f.__name__: f for f in (record, defer, share, hold, names, fetch)}


def answer(framework: str, environ: Mapping[str, Any]) -> str:
    """Do what a request asks for."""
    action = ACTIONS.get(environ["PATH_INFO"].rpartition("/")[2])
    if action:
        return json.dumps(action(**dict(parse_qsl(environ["QUERY_STRING"]))))
    sender = environ.get("HTTP_X_APPENGINE_INBOUND_APPID")
    return json.dumps({"framework": framework, "sender": sender, **who()})
