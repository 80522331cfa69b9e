"""Runs the app, and stops it when the dev server ends, even by SIGKILL.

The dev server starts this script, which imports nothing else of the package, with
`python -I -S watchdog.py PIPE SECONDS FOLDER FILES ENTRYPOINT`. PIPE is the number of a
socket whose other end the server keeps open: it ends when the server ends. The server
gets the number of the app's process group from it, in case this script is killed.
The app has SECONDS to end; then it gets SIGKILL. FOLDER, with the app's socket and its
temporary files, is removed at the end; it may be empty. FILES is the app's soft limit
on open files; it may be empty. This works on Linux and macOS.
"""

import contextlib
import os
import resource
import select
import signal
import sys
import time

# a killed process ends only a moment later; of some, init never takes the exit status
_LAST_SECONDS = 1.0


def main(
    pipe: int, seconds: float, folder: str, files: str, entrypoint: str
) -> int | None:
    """Run the app; return its exit status as a shell does: 128 + N for signal N."""
    os.set_inheritable(pipe, False)
    wakeup, wakeup_write = os.pipe()
    for end in (wakeup, wakeup_write):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
    # The handlers do nothing but wake up poll: a signal must not end this process
    # before the app. The app would inherit an ignored signal, but not a handler.
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)

    app = os.fork()
    if app == 0:
        _become_app(files, entrypoint)
    with contextlib.suppress(OSError):
        # the app does this too: either process may run first
        os.setpgid(app, app)
    with contextlib.suppress(OSError):  # the server may have ended
        os.write(pipe, b"%d" % app)
    # select() fails if the server had over a thousand connections
    poll = select.poll()
    for end in (pipe, wakeup):
        poll.register(end, select.POLLIN)
    status = None
    while status is None:
        ready = [number for number, _ in poll.poll()]
        status = _exit_status(app)
        if pipe in ready:
            break
        with contextlib.suppress(BlockingIOError):
            os.read(wakeup, 512)
    status = _end_group(app, status, seconds)
    if folder:
        # this import would double the time that the script takes to start
        import shutil

        shutil.rmtree(folder, ignore_errors=True)
    return status


def _become_app(files: str, entrypoint: str) -> None:
    try:
        if files:
            _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (int(files), most))
        # a signal to the group reaches the app and everything that it starts
        os.setpgid(0, 0)
        # Python ignores it, and the app would inherit this
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


def _end_group(app: int, status: int | None, seconds: float) -> int | None:
    """Stop the app's process group: SIGTERM, then SIGKILL after `seconds`."""
    for number, patience in (
        (signal.SIGTERM, seconds),
        (signal.SIGKILL, _LAST_SECONDS),
    ):
        _signal_group(app, number)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if status is None:
                status = _exit_status(app)
            # signal 0 has no effect, but fails if no process of the group is left
            elif not _signal_group(app, 0):
                return status
            time.sleep(0.01)
    return _exit_status(app, wait=True) if status is None else status


def _signal_group(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        # macOS answers EPERM for a group of which only zombies are left
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2]), *sys.argv[3:]))
