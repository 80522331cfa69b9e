"""Apps in a folder: as small as they can be, or a copy of one in tests/apps."""

import shutil
import sys
from pathlib import Path

from gae_devserver.app.process import LaunchSettings

LAUNCH = LaunchSettings(project="p", version="v1", api_port=9, grpc_port=9)
"""How an app starts that makes no API calls."""

RUNTIME = "python{}{}".format(*sys.version_info)
"""The runtime of the Python that runs the tests: another one is worth a warning."""

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

# Keeps the bytes of each request in a file, and returns them in a header of the answer,
# which an answer to HEAD has too.
RECORDER = """\
import itertools, os, pathlib, re, socketserver

class Recorder(socketserver.StreamRequestHandler):
    def handle(self):
        request = b""
        while line := self.rfile.readline():
            request += line
            if line != b"\\r\\n":
                continue
            length = re.search(rb"\\ncontent-length: (\\d+)", request.lower())
            request += self.rfile.read(int(length[1]) if length else 0)
            file = pathlib.Path(f"request-{next(numbers)}.new")
            file.write_bytes(request)
            file.rename(file.with_suffix(".bin"))
            body = b"" if request.startswith(b"HEAD ") else b"ok"
            self.wfile.write(ANSWER % request.hex().encode() + body)
            request = b""

ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nX-Request: %s\\r\\n\\r\\n"
numbers = itertools.count(1)
server = socketserver.ThreadingTCPServer
server.request_queue_size = 100
server(("127.0.0.1", int(os.environ["PORT"])), Recorder).serve_forever()
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
    text = f"runtime: {RUNTIME}\nentrypoint: {entrypoint}\n{app_yaml}"
    (folder / "app.yaml").write_text(text)
    (folder / "main.py").write_text(main)
    return folder
