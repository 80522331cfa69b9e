"""End a test run so that its fixtures stop what they started."""

import os
import signal
import threading
import time
from types import FrameType


def end_as_with_ctrl_c() -> None:
    """Make SIGTERM raise KeyboardInterrupt once, so that fixtures stop their servers.

    After a Ctrl-C, which reaches the tests too, a session runner such as nox also sends
    SIGTERM. That one is ignored, because it would interrupt the fixtures, as a second
    Ctrl-C does.
    """
    stopping = False

    def interrupt(signum: int, frame: FrameType | None) -> None:
        nonlocal stopping
        if stopping and signum == signal.SIGTERM:
            return
        stopping = True
        raise KeyboardInterrupt

    # In a shell's background job Ctrl-C is ignored, and servers would inherit that.
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, interrupt)


def end_with_parent(interval: float = 0.5) -> None:
    """Send this process SIGTERM when its parent has ended, perhaps by SIGKILL.

    This returns at once; a thread checks every `interval` seconds.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(interval)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
