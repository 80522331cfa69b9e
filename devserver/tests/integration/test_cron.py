"""Jobs of cron.yaml on a running server: by its clock, on request, never forged."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gae_devserver.testing import DevServer, StateApiError
from tests.helpers.app_folder import make_app
from tests.helpers.command import OWN_PYTHON, Running, fetch, run

# Answers 200 to cron jobs alone, as the SDK's sweep does, and with the address.
CRON_ONLY = """\
import os
from google.appengine.api import wrap_wsgi_app

def serve(environ, start_response):
    is_cron = environ.get("HTTP_X_APPENGINE_CRON") == "true"
    address = environ.get("HTTP_X_APPENGINE_USER_IP", "")
    if is_cron and address != "0.1.0.2":
        start_response("500 Wrong address", [])
        return [address.encode()]
    start_response("200 OK" if is_cron else "403 Forbidden", [])
    print("served", environ["PATH_INFO"], is_cron, flush=True)
    return []

app = wrap_wsgi_app(serve)
"""
JOBS = """\
cron:
- url: /hourly
  schedule: every 1 hours
- url: /daily
  schedule: every day 09:00
  timezone: Europe/Berlin
"""


@pytest.fixture
def cron_app(tmp_path: Path) -> Path:
    """An app that serves cron jobs alone, with two jobs."""
    folder = make_app(tmp_path / "cron", CRON_ONLY, "app_engine_apis: true\n")
    (folder / "cron.yaml").write_text(JOBS)
    return folder


def test_cron_by_the_clock_and_on_request(cron_app: Path, tmp_path: Path) -> None:
    """An hour runs the hourly job once; a stored clock does not store a job."""
    options = (OWN_PYTHON, "--cron", f"--storage={tmp_path / 'data'}")
    with DevServer(cron_app, *options) as server:
        server.advance(3600)
        server.wait_for_log("served /hourly True")
        hourly = server.state("GET", "/cron")["jobs"][0]
        assert hourly["last_run"]["status"] == 200
        assert server.run_cron("/daily") == server.run_cron(1) == 200
        assert server.get("/hourly", {"X-Appengine-Cron": "true"}).status == 403
        queues = server.state("GET", "/queues")["queues"]
        assert [queue["name"] for queue in queues] == ["default"]
    with DevServer(cron_app, options[0], options[2]) as server:
        assert server.state("GET", "/cron")["scheduled"] is False
        server.advance(86400)
        assert server.state("GET", "/cron")["jobs"][0]["last_run"] is None
        with pytest.raises(StateApiError, match="/hourly, /daily"):
            server.run_cron("/weekly")


def test_a_mistake_ends_the_start(folder: Path, start: Callable[..., Running]) -> None:
    """The exit status is 2, and the message has the line; jobs are in the banner."""
    (folder / "cron.yaml").write_text("cron:\n- {url: /a, schedule: every 5 mins}\n")
    server = start()
    assert server.banner("Cron jobs").startswith("/a")
    assert fetch(server.url)[0] == 200
    broken = shutil.copytree(folder, folder.with_name("broken"))
    (broken / "cron.yaml").write_text("cron:\n- url: /a\n  schedule: hourly\n")
    ended = run(broken, "--port=0")
    assert ended.returncode == 2
    assert f"{broken / 'cron.yaml'}, line 3: " in ended.stderr.splitlines()[-1]
