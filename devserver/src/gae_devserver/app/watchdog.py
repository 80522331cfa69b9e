"""Run the app, and end it when the dev server has ended, however that came about.

A script of its own, without imports from here: the dev server starts it as
`python -I -S watchdog.py PIPE SOCKET ENTRYPOINT`. PIPE is the number of a file
descriptor whose other end the server keeps open; when the server has died, even by
SIGKILL, the pipe reads as ended. That works on Linux and on macOS.
"""

# pathlib would double the time that this script takes to start
# ruff: noqa: PTH106, PTH108, PTH120

import contextlib
import os
import select
import signal
import sys
import time

# the server itself promises to be gone within 3 seconds of a signal
_GRACE_SECONDS = 2.0


def main(pipe: int, socket_path: str, entrypoint: str) -> int | None:
    """Return the app's exit status, as a shell gives it: 128 and more for a signal."""
    wakeup, wakeup_write = os.pipe()
    for end in (wakeup, wakeup_write):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
    # the handlers only wake up select; a signal to this process must not leave the
    # app behind, and an ignored signal would be inherited by the app
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)

    app = os.fork()
    if app == 0:
        _become_app(entrypoint)
    with contextlib.suppress(OSError):
        # both sides do it: neither knows which of them comes first
        os.setpgid(app, app)
    status = None
    while status is None:
        readable, _, _ = select.select([pipe, wakeup], [], [])
        status = _exit_status(app)
        if pipe in readable:
            break
        with contextlib.suppress(BlockingIOError):
            os.read(wakeup, 512)
    status = _end_group(app, status)
    if socket_path:
        with contextlib.suppress(OSError):
            os.unlink(socket_path)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(socket_path))
    return status


def _become_app(entrypoint: str) -> None:
    try:
        # a group of its own: all that the app starts can be signalled at once
        os.setpgid(0, 0)
        # Python ignores it, and a program would inherit that
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.execv("/bin/sh", ["sh", "-c", "exec " + entrypoint])
    finally:
        os._exit(127)


def _exit_status(app: int, wait: bool = False) -> int | None:
    pid, status = os.waitpid(app, 0 if wait else os.WNOHANG)
    if pid == 0:
        return None
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _end_group(app: int, status: int | None) -> int | None:
    """End what is left of the app's process group, by force after a while."""
    _signal_group(app, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_SECONDS
    while time.monotonic() < deadline:
        if status is None:
            status = _exit_status(app)
        # signal 0 only asks whether a process of the group is left
        elif not _signal_group(app, 0):
            return status
        time.sleep(0.01)
    _signal_group(app, signal.SIGKILL)
    return _exit_status(app, wait=True) if status is None else status


def _signal_group(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        # macOS answers EPERM for a group of which only zombies are left
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
