"""What an app finds as on App Engine, whatever the machine is set to."""

import sys
from pathlib import Path

import pytest

from gae_devserver.testing import DevServer
from tests.helpers.app_folder import copy_app


def test_a_time_without_a_zone_is_utc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task with the ETA `utcnow()` plus a minute is due in a minute, not in hours."""
    monkeypatch.setenv("TZ", "America/New_York")
    app = copy_app("deferring", tmp_path)
    log = tmp_path / "log"
    with DevServer(app, python=sys.executable, log_file=log) as server:
        server.post("/defer?function=note&label=a&_eta=60")
        (task,) = server.tasks()
        assert 30 < task.due_in <= 60
