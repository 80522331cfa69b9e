"""What docs/cloud-ndb.md walks through: from bundled NDB to Cloud NDB, and back."""

import json
import pathlib
import shutil
from collections import Counter
from collections.abc import Iterator

import pytest
from gae_devserver.testing import wait_until

from tests.servers.contract_app import ContractApp
from tests.servers.embedded import Embedded
from tests.servers.staging import REPOSITORY, stage

MAIN = pathlib.Path(__file__).parent / "staged" / "migration_main.py"
TASKS = 10
MODULES = {
    "google.appengine.ext.ndb.model": "bundled",
    "google.cloud.ndb.model": "cloud",
}


class Migration:
    """An app that queues and counts while its setting changes."""

    def __init__(self, app: ContractApp, folder: pathlib.Path) -> None:
        """Take the app and the folder that it runs from."""
        self.app = app
        self.setting = "bundled"
        self._app_yaml = folder / "app.yaml"
        self._queued: dict[str, str] = {}

    def change(self, setting: str) -> None:
        """Set COUNTER_NDB, as a deploy would; return when that is what is served."""
        old, new = (f"COUNTER_NDB: {name}\n" for name in (self.setting, setting))
        text = self._app_yaml.read_text()
        assert text.count(old) == 1
        self._app_yaml.write_text(text.replace(old, new))
        wait_until(lambda: self._library() == setting, f"{setting} NDB is in use")
        self.setting = setting

    def _library(self) -> str | None:
        body = json.dumps({"case": "counter_library", "args": [], "options": {}})
        answer = self.app.server.post("/contract/call", body.encode())
        if answer.status != 200:  # the app is restarting
            return None
        return MODULES[json.loads(answer.body)["result"]]

    def queue(self, countdown: float) -> None:
        """Let the app defer tasks; each adds one."""
        names = self.app.call("defer_increments", TASKS, countdown)
        self._queued |= dict.fromkeys(names, self.setting)

    def runs(self) -> Counter[tuple[str, str]]:
        """Return how many tasks were queued under one setting and run by a library."""
        ran = {
            (run.headers["taskname"], MODULES[run.extra["library"]])
            for run in self.app.runs("counted")
        }
        return Counter((self._queued[name], library) for name, library in ran)


@pytest.fixture
def migration(tmp_path: pathlib.Path) -> Iterator[Migration]:
    """The Flask app on a server that restarts it when app.yaml changes."""
    folder = stage(REPOSITORY / "flask_app", tmp_path)
    shutil.copy(MAIN, folder)
    settings = folder / "app.yaml"
    text = settings.read_text()
    settings.write_text(text.replace("contract_main:app", "migration_main:app"))
    server = Embedded(folder, tmp_path, reload=True)
    try:
        app = ContractApp(server, tmp_path)
        app.reset()
        yield Migration(app, folder)
    finally:
        server.stop()


def test_migration_loses_and_repeats_nothing(migration: Migration) -> None:
    """Tasks queued under one setting run under the other, and each counts once.

    The count that the page shows is right after each change: what one library has put
    into a cache does not hide what the other has written.
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

    # the way back is open
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
