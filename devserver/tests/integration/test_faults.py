"""--faults on the command line, and the worker processes that it kills."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from gae_devserver.faults import workers


def test_the_command_refuses_it() -> None:
    """A mistake is a usage error, without a traceback."""
    ended = subprocess.run(
        [sys.executable, "-m", "gae_devserver", "app", "--faults", "fire=1"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 2
    assert "--faults: " in ended.stderr
    assert "'fire'" in ended.stderr
    assert "Traceback" not in ended.stderr


# A parent with three children, and one of those with a child of its own.
TREE = """\
import os, signal
for child in range(3):
    if not os.fork():
        if child == 2:
            os.fork()
        signal.pause()
print("ready", flush=True)
signal.pause()
"""


@pytest.mark.asyncio
async def test_kill_finds_the_workers() -> None:
    """What is killed is a process without children below the app, never the app."""
    watchdog = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c"),
        "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])",
        TREE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert watchdog.stdout is not None
        await watchdog.stdout.readline()
        async with asyncio.timeout(20):
            while len(found := await workers(watchdog.pid)) != 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert watchdog.pid not in found
    finally:
        os.killpg(watchdog.pid, signal.SIGKILL)
        await watchdog.communicate()
