"""A run of tests is ended before its time, and nothing that it has started goes on."""

import os
import pathlib
import signal

import pytest
from gae_devserver.testing import wait_until
from gae_devserver.testing.processes import descendants, wait_for_end

from tests.commands.running import MINUTES, start_nox
from tools import cloud_sdk

STOP_SECONDS = 10.0
"""What the end may take on a loaded machine; on another it takes two seconds."""

CTRL_C = 130
"""nox's exit status after that, or after SIGTERM."""


@pytest.fixture(params=["embedded", "dev_appserver"])
def server(request: pytest.FixtureRequest) -> str:
    """A server that is there."""
    if request.param == "dev_appserver":
        try:
            cloud_sdk.find_dev_appserver()
        except cloud_sdk.NotInstalledError as error:
            pytest.skip(str(error))
    return str(request.param)


@pytest.mark.parametrize(
    ("whom", "sign", "status"),
    [
        ("group", signal.SIGINT, CTRL_C),
        ("outermost", signal.SIGTERM, CTRL_C),
        ("outermost", signal.SIGKILL, -signal.SIGKILL),
    ],
    ids=["ctrl-c", "term", "kill"],
)
def test_tests_end(
    whom: str, sign: signal.Signals, status: int, server: str, tmp_path: pathlib.Path
) -> None:
    """Ctrl-C, SIGTERM and SIGKILL end pytest, the server and the app; no test goes on.

    Nor does the next session.
    """
    log = tmp_path / "log"
    sessions = (f"plain_wsgi({server})", "lint")
    testing = start_nox(log, "-s", *sessions, "--", "--realtime")
    try:
        wait_until(
            lambda: (
                "three tasks are deferred" in log.read_text()
                or testing.poll() is not None
            ),
            "the test has begun",
            MINUTES,
        )
        assert testing.poll() is None, log.read_text()
        family = descendants(testing.pid)

        if whom == "group":
            os.killpg(testing.pid, sign)
        else:
            testing.send_signal(sign)

        assert testing.wait(STOP_SECONDS) == status, log.read_text()
        wait_for_end(family, STOP_SECONDS)
    finally:
        testing.terminate()
        testing.wait()

    assert "Running session lint" not in log.read_text()
    assert "passed" not in log.read_text()
