"""End a run of tests in such a way that its fixtures stop what they have started."""

import os
import signal
import threading
from types import FrameType

_PARENT_INTERVAL = 0.5


def end_as_with_ctrl_c() -> None:
    """Make SIGTERM raise KeyboardInterrupt, once, so that fixtures stop their servers.

    A session runner such as nox sends SIGTERM after a Ctrl-C that has reached the tests
    too; it must not break off what the first one has begun. A second Ctrl-C may.
    """
    stopping = False

    def interrupt(signum: int, frame: FrameType | None) -> None:
        nonlocal stopping
        if stopping and signum == signal.SIGTERM:
            return
        stopping = True
        raise KeyboardInterrupt

    # a shell has background jobs ignore Ctrl-C, and the servers would inherit that
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, interrupt)


def end_with_parent() -> None:
    """Send this process SIGTERM once its parent has ended, perhaps by SIGKILL.

    Returns at once; a thread looks every half second.
    """
    parent = os.getppid()

    def watch() -> None:
        pause = threading.Event()
        while os.getppid() == parent:
            pause.wait(_PARENT_INTERVAL)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
