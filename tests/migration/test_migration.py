"""The steps of docs/cloud-ndb.md: from bundled NDB to Cloud NDB, and back."""

import json
import pathlib
import shutil
from collections import Counter
from collections.abc import Iterator

import pytest
from gae_devserver.testing import wait_until

from tests.servers.contract_app import ContractApp
from tests.servers.embedded import Embedded
from tests.servers.staging import change, stage

MAIN = pathlib.Path(__file__).parent / "staged" / "migration_main.py"
TASKS = 10
MODULES = {
    "google.appengine.ext.ndb.model": "bundled",
    "google.cloud.ndb.model": "cloud",
}


class Migration:
    """An app that defers and counts while shared/counter.py is replaced."""

    def __init__(self, app: ContractApp, shared: pathlib.Path) -> None:
        """Read both counters from the app's folder `shared`."""
        self.app = app
        self.library = "bundled"
        self._file = shared / "counter.py"
        self._texts = {
            "bundled": self._file.read_text(),
            "cloud": (shared / "counter_cloud_ndb.py").read_text(),
        }
        self._queued: dict[str, str] = {}

    def change(self, library: str) -> None:
        """Replace the file, as a deployment does; return when the new one is in use."""
        self._file.write_text(self._texts[library])
        wait_until(lambda: self._library() == library, f"{library} NDB is in use")
        self.library = library

    def _library(self) -> str | None:
        body = json.dumps({"case": "counter_library", "args": [], "options": {}})
        answer = self.app.server.post("/contract/call", body.encode())
        if answer.status != 200:  # the app is restarting
            return None
        return MODULES[json.loads(answer.body)["result"]]

    def queue(self, countdown: float) -> None:
        """Let the app defer tasks that add one each."""
        names = self.app.call("defer_increments", TASKS, countdown)
        self._queued |= dict.fromkeys(names, self.library)

    def runs(self) -> Counter[tuple[str, str]]:
        """Count the tasks by the libraries that they were queued and run with."""
        ran = {
            (run.headers["taskname"], MODULES[run.extra["library"]])
            for run in self.app.runs("counted")
        }
        return Counter((self._queued[name], library) for name, library in ran)


@pytest.fixture
def migration(tmp_path: pathlib.Path) -> Iterator[Migration]:
    """The Flask app after the first step, on a server that reloads it."""
    folder = stage("flask", tmp_path)
    shutil.copy(MAIN, folder)
    change(folder / "app.yaml", "contract_main:app", "migration_main:app")
    count = "    count = ndb.IntegerProperty(indexed=False)\n"
    first_step = f"    _use_memcache = False\n{count}"
    change(folder / "shared" / "counter.py", count, first_step)
    server = Embedded(folder, tmp_path, reload=True)
    try:
        app = ContractApp(server, tmp_path)
        app.reset()
        yield Migration(app, folder / "shared")
    finally:
        server.stop()


def test_migration_loses_and_repeats_nothing(migration: Migration) -> None:
    """Tasks queued with one library run with the other, and each counts once.

    After each change /counter/get shows the right count: no cache of one library hides
    what the other has written.
    """
    app = migration.app
    migration.queue(countdown=0)
    migration.queue(countdown=60)
    app.server.run_due()
    assert app.count() == TASKS

    migration.change("cloud")
    assert app.count() == TASKS
    migration.queue(countdown=0)
    migration.queue(countdown=120)
    app.server.advance(65)
    assert app.count() == 3 * TASKS

    # and back again
    migration.change("bundled")
    assert app.count() == 3 * TASKS
    app.server.advance(65)
    assert app.count() == 4 * TASKS

    assert app.server.tasks() == []
    assert migration.runs() == {
        ("bundled", "bundled"): TASKS,
        ("bundled", "cloud"): TASKS,
        ("cloud", "cloud"): TASKS,
        ("cloud", "bundled"): TASKS,
    }
