"""The app with two more routes: POST /contract/call runs a case, /contract/grün a task.

Each route is a WSGI app of its own in the SDK's middleware, so that it can make API
calls. Everything else goes to the app unchanged.
"""

import json
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.validate import validator

import contract_cases
import main
from google.appengine.api import wrap_wsgi_app

from shared.deferred_handler import CustomDeferredHandler


def call(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Run the case that the body names; return its result, or its exception."""
    size = int(environ.get("CONTENT_LENGTH") or 0)
    wanted = json.loads(environ["wsgi.input"].read(size))
    try:
        case = contract_cases.CASES[wanted["case"]]
        answer = {"result": case(*wanted["args"], **wanted["options"])}
    except Exception as error:  # noqa: BLE001 (the test gets it)
        answer = {"error": type(error).__name__, "text": str(error)}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]


def run(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Run a task."""
    text, status, headers = CustomDeferredHandler().post(environ)
    start_response(f"{status.value} {status.phrase}", headers)
    return [text.encode()]


ROUTES: dict[str, WSGIApplication] = {
    "/contract/call": wrap_wsgi_app(call),
    # in WSGI, a path is the text that its bytes mean in Latin-1
    "/contract/grün".encode().decode("latin-1"): wrap_wsgi_app(run),
}

checked: WSGIApplication = validator(main.app)
"""The sample; an answer that breaks the rules of WSGI raises an error."""


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer the contract's own routes, and leave the rest to the app."""
    return ROUTES.get(environ["PATH_INFO"], checked)(environ, start_response)
