"""API calls of an app over its socket, through restarts and the end of workers."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

from gae_devserver.testing import wait_until
from tests.helpers.app_folder import make_app
from tests.helpers.command import PATIENCE, Running, edit, fetch

# Answers with the number of hosts to which the SDK has sent HTTP requests, and with the
# id of the worker.
CALLS = """\
import os
from google.appengine.api import apiproxy_stub_map, memcache, wrap_wsgi_app
from google.appengine.ext import ndb

class Text(ndb.Model):
    text = ndb.TextProperty()

def call(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    memcache.set("size", 900000)
    if environ["PATH_INFO"] == "/large":
        Text(id="a", text="a" * memcache.get("size")).put()
        ndb.get_context().clear_cache()
        memcache.flush_all()
        return [str(len(Text.get_by_id("a").text)).encode()]
    http = apiproxy_stub_map.apiproxy.GetStub("memcache").http
    return [f"first {len(http.pools)} {os.getpid()}".encode()]

app = wrap_wsgi_app(call)
"""


def test_an_app(folder: Path, start: Callable[..., Running]) -> None:
    """It uses HTTP for large calls only, also after a restart and in a new worker."""
    make_app(folder, CALLS, "app_engine_apis: true\n")
    server = start()

    def wait_for(text: str, hosts: int) -> str:
        """Wait for an answer; return the id of the worker."""
        expected = f"{text} {hosts} "
        wait_until(lambda: fetch(server.url)[1].startswith(expected), text, PATIENCE)
        return fetch(server.url)[1].removeprefix(expected)

    worker = wait_for("first", 0)
    os.kill(int(worker), signal.SIGKILL)
    wait_until(lambda: wait_for("first", 0) != worker, "a new worker", PATIENCE)
    edit(folder / "main.py", '"first', '"second')
    wait_for("second", 0)
    assert fetch(server.url, "/large") == (200, "900000")
    wait_for("second", 1)
