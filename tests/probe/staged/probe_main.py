"""The app with two more routes: /probe/cases lists cases, /probe/call runs one."""

import importlib
import json
import pathlib
from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import main
from google.appengine.api import wrap_wsgi_app

HERE = pathlib.Path(__file__).parent
GROUPS: dict[str, dict[str, Any]] = {}
for file in sorted(HERE.glob("cases_*.py")):
    GROUPS |= importlib.import_module(file.stem).GROUPS


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
