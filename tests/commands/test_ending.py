"""A session that is ended early leaves no process behind."""

import os
import pathlib
import signal

import pytest
from gae_devserver.testing.processes import descendants, wait_for_end
from gae_devserver.testing.requests import send

from tests.commands.running import STOP_SECONDS, start_nox
from tools import cloud_sdk

CTRL_C = 130
"""nox's exit status after Ctrl-C or SIGTERM in a session that runs tests."""

SESSIONS = {
    "serve": "-s serve -- plain_wsgi --port 0 --server {}",
    "tests": "-s plain_wsgi({}) lint -- --realtime",
}
READY = {
    "embedded": r"^  App +(http://\S+)$",
    "dev_appserver": r'"default" running at: (http://\S+)',
}
"""Where a server prints the app's URL."""


@pytest.fixture(params=READY)
def server(request: pytest.FixtureRequest) -> str:
    """A dev server that is installed."""
    if request.param == "dev_appserver":
        cloud_sdk.need_dev_appserver(pytest.skip)
    return str(request.param)


@pytest.mark.parametrize(
    ("sign", "to_group"),
    [(signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGKILL, False)],
    ids=["ctrl-c", "term", "kill"],
)
@pytest.mark.parametrize("what", SESSIONS)
def test_end(
    what: str, sign: signal.Signals, to_group: bool, server: str, tmp_path: pathlib.Path
) -> None:
    """Ctrl-C, and a signal to the outermost process alone, end all processes.

    After a run of tests was ended, no other session starts.
    """
    command = SESSIONS[what].format(server).split()
    with start_nox(*command, work=tmp_path) as started:
        session = started.process
        if what == "serve":
            url = started.wait_for(READY[server])
            assert send(url, "GET", "/counter/get").text == "0"
        else:
            started.wait_for("three tasks are deferred")
        family = {session.pid} | descendants(session.pid)

        if to_group:
            os.killpg(session.pid, sign)
        else:
            session.send_signal(sign)

        status = session.wait(STOP_SECONDS)
        wait_for_end(family, STOP_SECONDS)

    ended = 0 if what == "serve" else CTRL_C
    assert status == (-sign if sign == signal.SIGKILL else ended), started.log
    assert "Running session lint" not in started.log
    assert "passed" not in started.log
    assert what == "tests" or "Traceback" not in started.log
