"""An app whose client of Datastore runs without gRPC, on a whole server."""

import http.client
from collections.abc import Iterator

import pytest

from gae_devserver.testing import DevServer
from tests.helpers.app_folder import make_app
from tests.helpers.command import OWN_PYTHON

# stores the path, and answers with all that is stored; with a query, it only answers
# whether the path is there
MAIN = """\
import os
os.environ["GOOGLE_CLOUD_DISABLE_GRPC"] = "True"
from google.appengine.api import wrap_wsgi_app
from google.appengine.ext import ndb
from google.cloud import datastore

client = datastore.Client()

class Path(ndb.Model):
    pass

def store(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    name = environ["PATH_INFO"]
    if environ["QUERY_STRING"]:
        return [b"there" if Path.get_by_id(name) else b"missing"]
    client.put(datastore.Entity(client.key("Path", name)))
    names = [found.key.name for found in client.query(kind="Path").fetch()]
    assert names == [key.id() for key in Path.query().fetch(keys_only=True)]
    return [" ".join(names).encode()]

app = wrap_wsgi_app(store)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """A server with the app."""
    folder = tmp_path_factory.mktemp("http") / "app"
    with DevServer(make_app(folder, MAIN, "app_engine_apis: true"), OWN_PYTHON) as one:
        yield one


def reset(server: DevServer) -> bytes:
    """Reset the datastore as a client of Google's emulators does."""
    connection = http.client.HTTPConnection(server.datastore_host)
    connection.request("POST", "/reset")
    answer = connection.getresponse().read()
    connection.close()
    return answer


def test_its_entities_and_a_reset(server: DevServer) -> None:
    """Both libraries of the app see them, and neither does after a reset."""
    for names in (["/a", "/b"], ["/c"]):
        assert reset(server) == b"Resetting...\n"
        for count, name in enumerate(names, 1):
            assert server.get(name).body == " ".join(names[:count]).encode()


def test_a_reset_and_memcache(server: DevServer) -> None:
    """The bundled library finds no entity in memcache that a reset has deleted."""
    server.get("/kept")
    assert server.get("/kept?is").body == b"there"
    reset(server)
    assert server.get("/kept?is").body == b"missing"


def test_its_calls_belong_to_its_requests(server: DevServer) -> None:
    """The server keeps each call with the request that has made it."""
    server.get("/counted")
    (first,) = server.state("GET", "/requests?path=/counted")["requests"]
    shown = server.state("GET", f"/requests/{first['number']}")
    names = [call["name"] for call in shown["api_calls"]]
    assert names[:2] == ["Datastore.Commit", "Datastore.RunQuery"]
