"""An app that uses both NDB libraries in its requests: the server has one store."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import pytest

from gae_devserver.testing import DevServer
from tests.helpers.app_folder import copy_app

LIBRARIES = ("bundled", "cloud")
DIRECTIONS = [LIBRARIES, LIBRARIES[::-1]]


class BothLibraries(DevServer):
    """The app of tests/apps/two_libraries on a server."""

    def call(self, function: str, **arguments: object) -> Any:
        """Call one of the app's functions; return its result."""
        answer = self.get(f"/{function}?{urlencode(arguments)}")
        assert answer.status == 200, self.log()[-3000:]
        return json.loads(answer.body)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BothLibraries]:
    """A server with an app that counts with both libraries."""
    work = tmp_path_factory.mktemp("both")
    folder = copy_app("two_libraries", work)
    with BothLibraries(folder, log_file=work / "server.log") as server:
        yield server


@pytest.fixture
def app(both: BothLibraries) -> BothLibraries:
    """The app, with nothing stored."""
    both.reset()
    return both


@pytest.mark.parametrize(("writer", "reader"), DIRECTIONS)
def test_one_writes_and_the_other_reads(
    app: BothLibraries, writer: str, reader: str
) -> None:
    """Each library reads what the other one has written, and adds to it."""
    app.call("add", library=writer, amount=10)
    assert app.call("count", library=reader) == 10

    app.call("add", library=reader, amount=5)

    assert app.call("count", library=writer) == 15


@pytest.mark.parametrize(("library", "other"), DIRECTIONS)
def test_a_transaction_that_is_overtaken_starts_over(
    app: BothLibraries, library: str, other: str
) -> None:
    """A transaction runs again after the other library has overtaken it."""
    app.call("add", library=library, amount=1)

    assert app.call("overtake", library=library, other=other) == 2

    assert app.call("count", library=library) == app.call("count", library=other) == 111


def test_many_at_once_lose_nothing(app: BothLibraries) -> None:
    """Concurrent requests of both libraries are all counted."""

    def add(library: str) -> None:
        app.call("add", library=library, amount=1)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, LIBRARIES * 20))

    assert [app.call("count", library=library) for library in LIBRARIES] == [40, 40]
