"""Runs a command that must not outlive the process that started it.

    python leash.py COMMAND [ARGUMENT ...]

The command gets a process group of its own. When standard input ends, because the
starter closed it or died, even by SIGKILL, the whole group is stopped: dev_appserver.py
leaves gunicorn running if only its first process gets a signal.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time

PATIENCE = 5.0
"""Seconds from SIGTERM to SIGKILL; dev_appserver.py needs less than one."""


def _alive(group: subprocess.Popen[bytes]) -> bool:
    """Return whether any process of the group is left."""
    group.poll()  # otherwise a child that has ended counts as alive
    try:
        os.killpg(group.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS: only zombies are left
        return False
    return True


def stop(group: subprocess.Popen[bytes], patience: float = PATIENCE) -> None:
    """Stop every process of the group: SIGTERM, and after `patience` SIGKILL."""
    pause = threading.Event()
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group.pid, sign)
        deadline = time.monotonic() + patience
        while _alive(group) and time.monotonic() < deadline:
            pause.wait(0.01)
        if not _alive(group):
            return


def main(command: list[str]) -> int:
    """Run `command` until it ends or standard input does."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    group = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    ended, end = os.pipe()

    def wait() -> None:
        group.wait()
        os.close(end)

    threading.Thread(target=wait, daemon=True).start()
    try:
        select.select([sys.stdin.buffer, ended], [], [])
    finally:
        stop(group)
    return group.returncode or 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
