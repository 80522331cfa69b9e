"""The app as it is, with one route beside it: POST /contract/call runs a case.

The route is a WSGI app of its own, inside the SDK's middleware, so that a case can make
API calls. Everything else goes to the app untouched.
"""

import json
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import contract_cases
import main
from google.appengine.api import wrap_wsgi_app


def call(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Run the case that the body names; answer its result, or its exception."""
    size = int(environ.get("CONTENT_LENGTH") or 0)
    wanted = json.loads(environ["wsgi.input"].read(size))
    contract_cases.request.set(environ)
    try:
        case = contract_cases.CASES[wanted["case"]]
        answer = {"result": case(*wanted["args"], **wanted["options"])}
    except Exception as error:  # noqa: BLE001 (the test wants to see it)
        answer = {"error": type(error).__name__, "text": str(error)}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]


contract: WSGIApplication = wrap_wsgi_app(call)


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer the contract's own route, and leave the rest to the app."""
    if environ["PATH_INFO"] == "/contract/call":
        return contract(environ, start_response)
    application: WSGIApplication = main.app
    return application(environ, start_response)
