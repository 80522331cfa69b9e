"""The app with two more routes: /probe/cases lists cases, /probe/call runs one."""

import json
from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import main
import probe_blobs_mail
import probe_datastore
import probe_images
import probe_memcache
import probe_refused
import probe_search
import probe_small
import probe_taskqueue
import probe_urlfetch
from google.appengine.api import wrap_wsgi_app

GROUPS = {
    **probe_small.GROUPS,
    "blobstore": probe_blobs_mail.BLOBSTORE,
    "datastore": probe_datastore.CASES,
    "images": probe_images.CASES,
    "mail": probe_blobs_mail.MAIL,
    "memcache": probe_memcache.CASES,
    "refused": probe_refused.CASES,
    "search": probe_search.CASES,
    "taskqueue": probe_taskqueue.CASES,
    "urlfetch": probe_urlfetch.CASES,
}


def described(value: Any) -> Any:
    """Return a value as JSON has it; of an object, only the name of its class."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case bytes():
            return repr(value)
        case list() | tuple():
            return [described(item) for item in value]
        case dict():
            return {str(key): described(item) for key, item in value.items()}
    return type(value).__name__


def run(group: str, name: str) -> Any:
    """Run a case; return its result, or the class of its error and the text."""
    try:
        return {"outcome": described(GROUPS[group][name]()), "text": ""}
    except Exception as error:  # noqa: BLE001 (the test compares it)
        code = getattr(error, "application_error", "")
        return {"outcome": f"{type(error).__name__} {code}".strip(), "text": str(error)}


def probe(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer one of the two routes."""
    answer: Any = {group: list(cases) for group, cases in GROUPS.items()}
    if environ["PATH_INFO"] == "/probe/call":
        size = int(environ.get("CONTENT_LENGTH") or 0)
        answer = run(*json.loads(environ["wsgi.input"].read(size)))
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]


wrapped: WSGIApplication = wrap_wsgi_app(probe)


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer the probe's own routes, and leave the rest to the app."""
    own = environ["PATH_INFO"].startswith("/probe/")
    return (wrapped if own else main.app)(environ, start_response)
