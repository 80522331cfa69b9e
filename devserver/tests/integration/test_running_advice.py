"""What an app does wrong while it runs: one line says what to do."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.app_folder import make_app
from tests.helpers.command import Running, fetch

# Each route is a mistake.
MISTAKES = """\
import functools, threading

from google.appengine.api import memcache, taskqueue, wrap_wsgi_app
from google.appengine.ext import deferred, ndb

class Model(ndb.Model):
    pass

def work(*args):
    Model().put()

def first():
    pass

original, first = first, functools.partial(first)
ended = threading.Event()

def run_late():
    ended.wait()
    work()

def call(path):
    if path == "/lambda":
        deferred.defer(lambda: 1)
    if path == "/lock":
        deferred.defer(work, threading.Lock())
    if path == "/replaced":
        deferred.defer(original)
    if path == "/called":
        deferred.defer(str.strip(" a"))
    if path == "/late":
        threading.Thread(target=run_late).start()
    if path == "/end":
        ended.set()
    if path == "/gone":
        taskqueue.add(url="/_ah/queue/deferred", payload=b"cgone\\nf\\n.")
    if path == "/memcache":
        memcache.get("a")

def app(environ, start_response):
    start_response("200 OK", [])
    call(environ["PATH_INFO"])
    return [b"hello"]
"""
WRAP = "app = wrap_wsgi_app(app, use_deferred=True)\n"
ON_IMPORT = """
try:
    memcache.get("b")
except Exception as error:
    import logging
    logging.exception(error)
"""


def advised(server: Running, text: str) -> str:
    """Wait for the line with advice that has this text; there is only one."""
    line = server.log(f"^.* warning: .*{re.escape(text)}.*$")
    assert server.stderr.count(line) == 1
    return line


def test_mistakes_in_requests(folder: Path, start: Callable[..., Running]) -> None:
    """The app's line and what to do are logged, once for each kind of mistake."""
    main = MISTAKES + WRAP + ON_IMPORT
    make_app(folder, main, "app_engine_apis: true")
    server = start("--no-reload")
    paths = ("/lambda", "/lock", "/replaced", "/called", "/gone")
    for path in (*paths, *paths, "/late", "/end"):
        fetch(server.url, path)
    for call, what_to_do in (
        ("deferred.defer(lambda: 1)", "top level"),
        ("deferred.defer(work, threading.Lock())", "plain data"),
        ("deferred.defer(original)", "that name"),
        ('deferred.defer(str.strip(" a"))', "defer(f, 1)"),
        ("Model().put()", "thread"),
        ('memcache.get("b")', "on import"),
    ):
        line = advised(server, call)
        lines = [text.strip() for text in main.splitlines()]
        assert f" main.py, line {lines.index(call) + 1}: " in line
        assert what_to_do in line
    assert "drops the task" in advised(server, "No module named 'gone'")


@pytest.mark.parametrize(
    ("main", "facts"),
    [
        (MISTAKES, ["main.py, line ", 'memcache.get("a")', "wrap_wsgi_app("]),
        (
            "from google.appengine.api import wrap_wsgi_app\n"
            "async def app(scope, receive, send): ...\n" + WRAP,
            ["ASGI", "gunicorn -k uvicorn_worker.UvicornWorker main:app"],
        ),
        (
            (
                "from django.core.asgi import get_asgi_application\n"
                "from django.conf import settings\n"
                "settings.configure()\n"
                "app = get_asgi_application()\n"
            ),
            ["get_wsgi_application"],
        ),
        ("from aiohttp import web\napp = web.Application()\n", ["aiohttp."]),
        (
            # called as an ASGI server does
            (
                "def wsgi_app(environ, start_response): ...\n"
                "def app(scope, receive): wsgi_app(scope)\n"
            ),
            ["WSGI", "gunicorn main:app"],
        ),
    ],
)
def test_an_app_that_no_request_reaches(
    folder: Path, start: Callable[..., Running], main: str, facts: list[str]
) -> None:
    """The first request of an app of the wrong kind leads to a line with the fix."""
    make_app(folder, main, "app_engine_apis: true")
    server = start("--no-reload")
    fetch(server.url, "/memcache")
    line = advised(server, facts[-1])
    assert all(fact in line for fact in facts)
