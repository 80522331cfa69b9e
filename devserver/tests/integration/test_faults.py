"""The worker processes that the fault `kill` can choose."""

import asyncio
import os
import signal
import sys

import pytest

from gae_devserver.faults import workers
from tests.helpers.waiting import PATIENCE

# A parent with three children, one of which has a child of its own.
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
    """A worker is a process without children below the app, never the app itself."""
    run = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    watchdog = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        run,
        TREE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert watchdog.stdout is not None
        await watchdog.stdout.readline()
        async with asyncio.timeout(PATIENCE):
            while len(found := await workers(watchdog.pid)) != 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert watchdog.pid not in found
    finally:
        os.killpg(watchdog.pid, signal.SIGKILL)
        await watchdog.communicate()
