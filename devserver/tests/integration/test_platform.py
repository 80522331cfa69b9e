"""What an app finds as on App Engine, whatever the machine is set to."""

import sys
from pathlib import Path

import pytest

from gae_devserver.testing import DevServer
from tests.helpers.app_folder import copy_app, make_app

# Does what a client of Google Cloud does on import, and in a call.
CLIENT = """\
import google.auth
from google.appengine.api import app_identity
from google.auth.transport.requests import Request

credentials, project = google.auth.default()

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    try:
        if environ["PATH_INFO"] == "/sdk":
            app_identity.get_access_token("https://www.googleapis.com/auth/pubsub")
        credentials.refresh(Request())
    except Exception as error:
        return [f"{project}: {error}".encode()]
"""


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


def test_a_client_without_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can be made on import, with the project; its calls say what they need."""
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    app = make_app(tmp_path / "app", CLIENT)
    options = (f"--python={sys.executable}", "--project=my-project")
    with DevServer(app, *options, log_file=tmp_path / "log") as server:
        answer, of_sdk = server.get("/").text, server.get("/sdk").text
    assert answer.startswith("my-project: ")
    assert "gcloud auth application-default login" in answer
    assert "google.auth.default()" in of_sdk
