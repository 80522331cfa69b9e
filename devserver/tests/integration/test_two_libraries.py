"""An app that uses both libraries on the server's one store, in its own requests."""

import pathlib
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from google.appengine.ext import ndb as bundled
from google.cloud import ndb as cloud

from tests.devserver import test_datastore_v1_both
from tests.servers.contract_app import ContractApp
from tests.servers.embedded import Embedded
from tests.servers.staging import REPOSITORY, stage

MAIN = pathlib.Path(__file__).parent / "staged" / "two_libraries_main.py"
LIBRARIES = ("bundled", "cloud")
DIRECTIONS = [LIBRARIES, LIBRARIES[::-1]]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContractApp]:
    """An app that counts with both libraries, on a server of its own."""
    work = tmp_path_factory.mktemp("both")
    folder = stage(REPOSITORY / "plain_wsgi_app", work)
    shutil.copy(MAIN, folder)
    settings = folder / "app.yaml"
    text = settings.read_text()
    settings.write_text(text.replace("contract_main:app", "two_libraries_main:app"))
    server = Embedded(folder, work)
    try:
        yield ContractApp(server, work)
    finally:
        server.stop()


@pytest.fixture
def app(both: ContractApp) -> ContractApp:
    """The app, with nothing stored."""
    both.reset()
    return both


@pytest.mark.parametrize(("writer", "reader"), DIRECTIONS)
def test_one_writes_and_the_other_reads(
    app: ContractApp, writer: str, reader: str
) -> None:
    """A count of one library is the other's too, and each goes on with it."""
    app.call("add", writer, 10)
    assert app.call("count", reader) == 10

    app.call("add", reader, 5)

    assert app.call("count", writer) == 15


@pytest.mark.parametrize(("writer", "reader"), DIRECTIONS)
def test_a_query_sees_what_the_other_wrote(
    app: ContractApp, writer: str, reader: str
) -> None:
    """A query by a property finds an entity at once, whoever has changed it."""
    app.call("add", writer, 10)
    assert app.call("query", reader, 10) == ["both"]

    app.call("add", writer, -1)

    assert app.call("query", reader, 10) == []


@pytest.mark.parametrize(("library", "other"), DIRECTIONS)
def test_a_transaction_that_is_overtaken_starts_over(
    app: ContractApp, library: str, other: str
) -> None:
    """When the other library commits in the middle, one is retried; both count."""
    app.call("add", library, 1)

    assert app.call("overtake", library, other) == 2

    assert app.call("count", library) == app.call("count", other) == 111


def test_many_at_once_lose_nothing(app: ContractApp) -> None:
    """Requests of both libraries that add at the same time are all counted."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda library: app.call("add", library, 1), LIBRARIES * 20))

    assert [app.call("count", library) for library in LIBRARIES] == [40, 40]


def test_urlsafe_keys_are_equal(app: ContractApp) -> None:
    """A link with a key of one library is a link of the other."""
    ours, theirs = app.call("urlsafe_keys")

    assert ours == theirs


def test_every_type_of_property_is_compared() -> None:
    """What both libraries offer is in the models that their tests compare."""

    def properties(ndb: Any) -> set[str]:
        return {
            name
            for name, found in vars(ndb).items()
            if isinstance(found, type) and issubclass(found, ndb.Property)
        }

    compared = {
        type(found).__name__
        for model in test_datastore_v1_both.MODELS[bundled].values()
        for found in model._properties.values()
    }

    # Property is abstract, ModelKey is every model's; a blob key has a test of its own
    without = {"Property", "ModelKey", "BlobKeyProperty"}
    assert properties(bundled) & properties(cloud) - without == compared - {
        "_ClassKeyProperty"
    }
