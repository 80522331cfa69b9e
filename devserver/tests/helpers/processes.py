"""Real apps in a folder, and what `ps` says of the processes that run them."""

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.servers.waiting import wait_until

HELLO = """\
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
"""

# Answers each request with "ok", and keeps its bytes in a file of its own.
RECORDER = """\
import itertools, os, pathlib, socket, threading

numbers = itertools.count(1)
server = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=100)

def serve(connection):
    data = b""
    while chunk := connection.recv(65536):
        data += chunk
        while b"\\r\\n\\r\\n" in data:
            head, _, rest = data.partition(b"\\r\\n\\r\\n")
            length = 0
            for line in head.lower().split(b"\\r\\n"):
                if line.startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            while len(rest) < length:
                rest += connection.recv(65536)
            file = pathlib.Path(f"request-{next(numbers)}.new")
            file.write_bytes(head + b"\\r\\n\\r\\n" + rest[:length])
            file.rename(file.with_suffix(".bin"))
            data = rest[length:]
            connection.sendall(ANSWER)
    connection.close()

ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok"
while True:
    connection, _ = server.accept()
    threading.Thread(target=serve, args=(connection,), daemon=True).start()
"""


def make_app(
    folder: Path, main: str = HELLO, app_yaml: str = "", entrypoint: str | None = None
) -> Path:
    """Make an app; unless told otherwise, gunicorn with one worker runs it."""
    folder.mkdir(parents=True, exist_ok=True)
    entrypoint = entrypoint or "gunicorn --no-control-socket --threads 4 main:app"
    text = f"runtime: python311\nentrypoint: {entrypoint}\n{app_yaml}"
    (folder / "app.yaml").write_text(text)
    (folder / "main.py").write_text(main)
    return folder


def _all_processes() -> Iterator[tuple[int, int]]:
    """Yield process id and parent of every process that is not a zombie."""
    command = ["ps", "-A", "-o", "pid=,ppid=,stat="]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for line in lines.splitlines():
        pid, parent, state = line.split()[:3]
        if not state.startswith("Z"):
            yield int(pid), int(parent)


def descendants(pid: int) -> set[int]:
    """Return the processes that a process has started, directly or not."""
    parents: Mapping[int, int] = dict(_all_processes())
    found: set[int] = set()
    new = {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new}
        found |= new
    return found


def running(pids: set[int]) -> set[int]:
    """Return those of the processes that still run."""
    return pids & dict(_all_processes()).keys()


def wait_for_end(pids: set[int], seconds: float) -> None:
    """Wait until none of the processes runs any more."""
    wait_until(lambda: not running(pids), f"the end of {sorted(pids)}", seconds)
