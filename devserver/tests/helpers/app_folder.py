"""Apps in a folder: as small as they can be, or a copy of one in tests/apps."""

import shutil
from pathlib import Path

from gae_devserver.app.process import LaunchSettings

LAUNCH = LaunchSettings(project="p", version="v1", api_port=9, datastore_port=9)
"""How an app starts that makes no API calls."""

HELLO = """\
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
"""
# Makes an API call.
CALLING = """\
from google.appengine.api import memcache, wrap_wsgi_app

def call(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(memcache.get("a")).encode()]

app = wrap_wsgi_app(call)
"""

# Answers each request with "ok", and keeps the bytes of each in a file.
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


APPS = Path(__file__).resolve().parents[1] / "apps"


def copy_app(name: str, folder: Path) -> Path:
    """Copy an app of tests/apps, which may write beside its files; return the copy."""
    ignore = shutil.ignore_patterns("__pycache__", "__init__.py")
    return shutil.copytree(APPS / name, folder / name, ignore=ignore)


def make_app(
    folder: Path, main: str = HELLO, app_yaml: str = "", entrypoint: str | None = None
) -> Path:
    """Make an app, which gunicorn with one worker runs by default."""
    folder.mkdir(parents=True, exist_ok=True)
    entrypoint = entrypoint or "gunicorn --no-control-socket --threads 4 main:app"
    text = f"runtime: python311\nentrypoint: {entrypoint}\n{app_yaml}"
    (folder / "app.yaml").write_text(text)
    (folder / "main.py").write_text(main)
    return folder
