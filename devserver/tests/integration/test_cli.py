"""`gae-devserver` as a user meets it: options, banner, reload, and its end."""

import errno
import io
import json
import logging
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from google.appengine.api.memcache import memcache_service_pb2
from google.appengine.ext.remote_api import remote_api_bytes_pb2

from gae_devserver import server as server_module
from gae_devserver import terminal as console
from gae_devserver.app import watchdog as app_watchdog
from gae_devserver.storage.storage import FILE_NAME
from gae_devserver.testing import wait_until
from gae_devserver.testing.processes import descendants, wait_for_end
from tests.helpers.app_folder import HELLO, make_app

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "gae_devserver"]
PATIENCE = 30.0
PROMISE = 10.0
"""Seconds to wait for the end: 3 are promised, and a loaded machine gets more.

What the server allows itself is checked without a clock, at the end of this file.
"""

# Answers with what it reads of its environment and its files.
TELLING = """\
import os
from shared import text

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    values = [os.environ["GAE_VERSION"], os.environ.get("COLOUR", ""), text.TEXT]
    return ["|".join(values).encode()]
"""

# Makes an API call.
CALLING = """\
from google.appengine.api import memcache, wrap_wsgi_app

def call(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(memcache.get("a")).encode()]

app = wrap_wsgi_app(call)
"""


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def fetch(url: str) -> tuple[int, str]:
    """Return status and body of an answer."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


class Running:
    """A server that runs in a process group of its own, as one in a terminal does."""

    def __init__(self, folder: Path, work: Path, *arguments: str) -> None:
        self._files = (work / "stdout", work / "stderr")
        with self._files[0].open("wb") as stdout, self._files[1].open("wb") as stderr:
            self.process = subprocess.Popen(
                [*COMMAND, str(folder), "--port", "0", *arguments],
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )

    @property
    def stdout(self) -> str:
        """What it has printed."""
        return self._files[0].read_text()

    @property
    def stderr(self) -> str:
        """What it and the app have logged."""
        return self._files[1].read_text("utf-8", "replace")

    def find(self, pattern: str, text: Callable[[], str]) -> str:
        """Wait for a text, and return its first group."""

        def look() -> str | None:
            found = re.search(pattern, text(), re.MULTILINE)
            if found is None and self.process.poll() is not None:
                pytest.fail(f"the server has ended: {self.stdout}{self.stderr}")
            return found and found[1]

        try:
            return wait_until(look, "a text", PATIENCE) or ""
        except TimeoutError:
            pytest.fail(f"{pattern} is not in {text()}")

    def log(self, pattern: str) -> str:
        """Wait for a text in the log, and return its first group."""
        return self.find(f"({pattern})", lambda: self.stderr)

    @property
    def url(self) -> str:
        """Where the app answers."""
        return self.find(r"^  App        (\S+)$", lambda: self.stdout)

    @property
    def state_url(self) -> str:
        """Where the state API answers."""
        return self.find(r"^  State API  (\S+)$", lambda: self.stdout)

    @property
    def token(self) -> str:
        """What a write to the state API has to bring."""
        return self.find(r"^  Token      ([0-9a-f]{32})$", lambda: self.stdout)

    def answers(self, body: str) -> None:
        """Wait until the app answers so."""
        wait_until(lambda: fetch(self.url) == (200, body), f"{body!r}", PATIENCE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An app that says hello."""
    return make_app(tmp_path / "app")


@pytest.fixture
def start(folder: Path, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start the server for `folder`."""
    servers = []

    def start_server(*arguments: str) -> Running:
        servers.append(Running(folder, tmp_path, *arguments))
        return servers[-1]

    yield start_server
    for server in servers:
        left = {server.process.pid} | descendants(server.process.pid)
        if server.process.poll() is None:
            server.process.terminate()
        server.process.wait(PATIENCE)
        wait_for_end(left, PATIENCE)


def test_the_banner(start: Callable[..., Running]) -> None:
    """It names the app, where everything is, and how to stop; the app answers then."""
    server = start("--no-reload")
    port = server.find(r"^  App        http://127.0.0.1:(\d+)$", lambda: server.stdout)
    assert fetch(f"http://127.0.0.1:{port}/") == (200, "hello")
    assert int(port) > 0
    state_port = server.state_url.rpartition(":")[2]
    datastore_port = server.find(
        r"^  Datastore  DATASTORE_EMULATOR_HOST=127.0.0.1:(\d+)$",
        lambda: server.stdout,
    )
    assert server.stdout == (
        "Development server for app (service default, python311)\n"
        f"  App        http://127.0.0.1:{port}\n"
        f"  State API  http://127.0.0.1:{state_port}\n"
        f"  Token      {server.token}\n"
        f"  Datastore  DATASTORE_EMULATOR_HOST=127.0.0.1:{datastore_port}\n"
        "  Queues     default\n"
        "  Storage    in memory\n"
        "Press Ctrl-C to stop. For development only: do not expose this server.\n"
    )
    with socket.socket(socket.AF_INET6) as client:
        reached = client.connect_ex(("::1", int(port)))
        assert reached in (0, errno.EADDRNOTAVAIL, errno.ENETUNREACH)
    server.log(r"^\d\d:\d\d:\d\d GET / 200 \d+ ms$")
    assert "\x1b" not in server.stderr


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux has it")
def test_a_full_disk(start: Callable[..., Running], tmp_path: Path) -> None:
    """What cannot be stored is an error in one line that names the file, until the end.

    No answer has told of it, so a server that is stopped then has kept its promise:
    it closes everything and leaves with 0.
    """
    folder = tmp_path / "storage"
    server = start("--no-reload", "--storage", str(folder))
    request = urllib.request.Request(
        f"{server.state_url}/clock/advance",
        b'{"seconds": 1}',
        {"Content-Type": "application/json", "X-Devserver-Token": server.token},
    )
    path = folder / FILE_NAME
    wal = path.with_name(f"{FILE_NAME}-wal")
    room = wal.stat().st_size
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (room, room))

    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(request, timeout=PATIENCE)
    with error.value:
        assert error.value.code == 500
        assert f"{path} cannot be written: " in json.load(error.value)["error"]
    server.process.terminate()
    assert server.process.wait(PROMISE) == 0
    assert f"the State API was not stored: {path} cannot be written: " in server.stderr
    assert f"what has changed last was not stored: {path} cannot be" in server.stderr
    assert "Traceback" not in server.stderr


def test_the_banner_says_where_the_storage_is(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    """In full, also where the option is a path from the current folder on."""
    server = start("--no-reload", "--storage", os.path.relpath(tmp_path, REPOSITORY))
    path = server.find(r"^  Storage    (.+)$", lambda: server.stdout)
    assert path == str(tmp_path.resolve() / "devserver.sqlite3")


def test_each_run_has_a_token_of_its_own(
    start: Callable[..., Running], folder: Path
) -> None:
    """What one run has printed opens its state API and API port, and no other's."""
    make_app(folder, SHOW_API_PORT, "app_engine_apis: true\n")
    tokens = set()
    for _ in range(2):
        server = start("--no-reload")
        tokens.add(token := server.token)
        port = fetch(server.url)[1]
        for brought, status in ((token, 200), ("0" * 32, 403), ("", 403)):
            assert write(server.state_url, brought) == status
            assert makes_calls(port, brought) is (status == 200)
    assert len(tokens) == 2


SHOW_API_PORT = """\
import os

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [os.environ["API_PORT"].encode()]
"""


SHOW_ENVIRONMENT = """\
import os

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [" ".join(f"{name}={value}" for name, value in os.environ.items()).encode()]
"""


def test_the_app_does_not_get_the_token(
    start: Callable[..., Running], folder: Path
) -> None:
    """Neither at first nor after a reload: what it runs for others cannot use it."""
    make_app(folder, SHOW_ENVIRONMENT, "env_variables: {COLOUR: blue}\n")
    server = start()

    def shown(colour: str) -> str:
        found = f"COLOUR={colour} "
        wait_until(lambda: found in fetch(server.url)[1], colour, PATIENCE)
        return fetch(server.url)[1]

    assert server.token not in shown("blue")
    edit(folder / "app.yaml", "blue", "red")
    assert server.token not in shown("red")


def makes_calls(port: str, token: str) -> bool:
    """Tell whether an API call with a token, and without a ticket, is answered."""
    call = remote_api_bytes_pb2.Request(
        service_name="memcache",
        method="Stats",
        request=memcache_service_pb2.MemcacheStatsRequest().SerializeToString(),
    )
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/rpc_http",
        call.SerializeToString(),
        {"X-Devserver-Token": token},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        response = remote_api_bytes_pb2.Response.FromString(answer.read())
    return bool(response.HasField("response"))


def write(state_url: str, token: str) -> int:
    """Pause a queue with a token; return the status of the answer."""
    headers = {"Content-Type": "application/json", "X-Devserver-Token": token}
    request = urllib.request.Request(
        f"{state_url}/queues/default/pause", b"{}", headers, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.skipif(
    sys.platform != "linux", reason="127.0.0.2 is an address of this machine on Linux"
)
def test_others_may_use_the_app(start: Callable[..., Running]) -> None:
    """With --host, which says what that means; the state API stays where it is."""
    server = start("--no-reload", "--host", "0.0.0.0")
    port = server.url.rpartition(":")[2]
    assert fetch(server.url) == (200, "hello")
    assert fetch(f"http://127.0.0.2:{port}/") == (200, "hello")
    server.log(
        r"warning: --host 0\.0\.0\.0: whoever reaches every address of this machine "
        rf"on port {port} can use the app, without encryption"
    )
    with pytest.raises(urllib.error.URLError):
        fetch(server.state_url.replace("127.0.0.1", "127.0.0.2"))


@pytest.mark.skipif(
    sys.platform != "linux", reason="127.0.0.2 is an address of this machine on Linux"
)
def test_one_address_more(start: Callable[..., Running]) -> None:
    """It is listened on, although it is a loopback address too."""
    server = start("--no-reload", "--host", "127.0.0.2")
    port = server.url.rpartition(":")[2]
    assert fetch(f"http://127.0.0.2:{port}/") == (200, "hello")
    assert fetch(server.url) == (200, "hello")
    assert f"\n             http://127.0.0.2:{port}\n" in server.stdout


@pytest.mark.skipif(
    sys.platform != "linux", reason="127.0.0.2 is an address of this machine on Linux"
)
def test_nobody_else_may_use_the_app(start: Callable[..., Running]) -> None:
    """Without --host, the loopback addresses are all that is listened on."""
    server = start("--no-reload")
    assert fetch(server.url) == (200, "hello")
    with pytest.raises(urllib.error.URLError):
        fetch(server.url.replace("127.0.0.1", "127.0.0.2"))
    assert "--host" not in server.stderr


def test_help() -> None:
    """It names every option."""
    result = run("--help")
    assert result.returncode == 0
    assert result.stdout.startswith("usage: gae-devserver ")
    for option in ("--port", "--host", "--project", "--reload", "--log-level"):
        assert option in result.stdout
    assert "--open" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "APP_FOLDER"),
        (["missing"], "There is no folder missing."),
        (["docs-of-nothing/app.yaml"], "There is no folder"),
        (["tests"], "There is no app.yaml in tests."),
        (["tests/conftest.py"], "tests/conftest.py is a file."),
        (["docs/../tests"], f"There is no app.yaml in {REPOSITORY / 'tests'}."),
        (
            ["flask_app", "--port", "0", "--storage", "LICENSE"],
            "LICENSE is a file, not a folder.",
        ),
        (
            ["flask_app", "--faults", "fire=1"],
            "no fault 'fire'; there are twice, lost, error, slow, rpc, kill",
        ),
        (["flask_app", "--fast"], "unrecognized arguments: --fast"),
        (["flask_app", "--port", "http"], "'http' is not a number from 0 to 65535"),
        (["flask_app", "--port", "65536"], "'65536' is not a number"),
        (["flask_app", "--port", "-1"], "'-1' is not a number"),
        (["flask_app", "--host", "here"], "'here' is not an IP address"),
        (
            ["flask_app", "--port", "0", "--host", "192.0.2.1"],
            "has no address 192.0.2.1",
        ),
        (["flask_app", "--project", "X"], "'X' is not a project id"),
        (["flask_app", "--project", "dev~app"], "'dev~app' is not a project id"),
        (["flask_app", "--log-level", "loud"], "'loud'"),
    ],
)
def test_a_mistake_on_the_command_line(arguments: list[str], message: str) -> None:
    """Status 2, and the last line says what is wrong."""
    result = run(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("gae-devserver: error: ")
    assert message in last


@pytest.mark.parametrize(
    ("file", "text"), [("app.yaml", "runtime: python313\nfoo: 1"), ("queue.yaml", "x:")]
)
def test_a_broken_file(folder: Path, file: str, text: str) -> None:
    """Status 2, with the file and the line, and no process is left."""
    (folder / file).write_text(text)
    result = run(folder, "--port", "0")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    last = result.stderr.splitlines()[-1]
    assert re.search(rf"error: .*{file}, line \d: ", last)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_port_in_use(folder: Path, address: str) -> None:
    """Status 2, and what to do; also where only localhost by IPv6 is taken."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        other = socket.create_server((address, 0), family=family)
    except OSError:
        pytest.skip(f"this machine has no {address}")
    with other:
        port = other.getsockname()[1]
        result = run(folder, "--port", str(port))
    assert result.returncode == 2
    assert result.stderr == (
        f"gae-devserver: error: Port {port} is in use by another program. Stop "
        "that program, or choose another port: --port 0 picks a free one.\n"
    )


def test_windows() -> None:
    """One line says what to use there."""
    script = """
import os, sys, types
import gae_devserver.__main__ as command
command.os = types.SimpleNamespace(**{**vars(os), "name": "nt"})
sys.argv = ["gae-devserver", "flask_app"]
command.main()
"""
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr == (
        "gae-devserver: error: this server runs on Linux and macOS. "
        "On Windows, use WSL.\n"
    )


def test_a_python_without_the_packages() -> None:
    """One line says which package is missing, and the command that installs all."""
    # -S: without site-packages
    result = subprocess.run(
        [sys.executable, "-S", "-m", "gae_devserver", "flask_app"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "the package google is missing in" in line
    assert "python3 noxfile.py -s serve -- flask" in line


def test_an_app_that_dies_at_start(folder: Path) -> None:
    """Status 1; what it printed is shown, once, and then where and what to do."""
    (folder / "main.py").write_text("raise RuntimeError('broken app')")
    result = run(folder, "--port", "0")
    assert result.returncode == 1
    assert len(re.findall("(?m)^RuntimeError: broken app$", result.stderr)) == 1
    assert "asyncio" not in result.stderr
    assert result.stderr.endswith(
        "gae-devserver: error: The app ended with exit status 3 before it was "
        "ready. main.py, line 1: RuntimeError: broken app. Mend that, and start the "
        "server again.\n"
    )
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("main", "entrypoint", "message"),
    [
        ("import not_there", None, "no module not_there, neither in"),
        (HELLO, "no-gunicorn-here main:app", "The entrypoint's program is not there"),
        (HELLO, "python -m not_there main:app", "no module not_there, neither in"),
    ],
)
def test_an_app_that_lacks_a_package(
    folder: Path, main: str, entrypoint: str | None, message: str
) -> None:
    """What to do is then to install the app's requirements into this Python."""
    make_app(folder, main, entrypoint=entrypoint)
    result = run(folder, "--port", "0")
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert message in last
    assert str(folder / "requirements.txt") in last
    assert sys.executable in last


@pytest.mark.parametrize(
    ("main", "message"),
    [
        (None, "There is no module main in {folder}, and the entrypoint in app.yaml"),
        ("import parts.missing", "There is no module parts.missing in {folder}."),
        ("import urllib2", "urllib2 is of Python 2; in Python"),
        ("import webapp2", "webapp2 is of App Engine's Python 2"),
    ],
)
def test_an_app_that_lacks_something_else(
    folder: Path, main: str | None, message: str
) -> None:
    """It is named, and nobody is told to install a package."""
    (folder / "parts").mkdir()
    if main is None:
        (folder / "main.py").unlink()
    else:
        make_app(folder, main)
    result = run(folder, "--port", "0")
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert message.format(folder=folder) in last
    assert "requirements.txt" not in last


def test_warnings_come_before_the_banner(
    folder: Path, start: Callable[..., Running]
) -> None:
    """What app.yaml asks for in vain is said; so is a port that others can reach."""
    main = (
        "import os\n"
        "from wsgiref.simple_server import make_server\n"
        f"{HELLO}\n"
        "make_server('127.0.0.1', int(os.environ['PORT']), app).serve_forever()\n"
    )
    make_app(folder, main, "automatic_scaling: {max_instances: 1}", "python main.py")
    server = start("--no-reload")
    server.answers("hello")
    lines = server.stderr.splitlines()
    first = [line[9:] for line in lines if "warning: " in line]
    assert "warning: app.yaml: not emulated: automatic_scaling." in first
    assert any("listens on a port of its own" in line for line in first)


def test_the_warm_up_comes_before_the_banner(
    folder: Path, start: Callable[..., Running]
) -> None:
    """With inbound_services: warmup, and from the address of App Engine's own."""
    main = (
        "def app(environ, start_response):\n"
        "    with open('requests', 'a') as file:\n"
        "        ip = environ['HTTP_X_APPENGINE_USER_IP']\n"
        "        print(environ['PATH_INFO'], ip, file=file)\n"
        "    start_response('200 OK', [])\n"
        "    return []\n"
    )
    make_app(folder, main, "inbound_services: [warmup]")
    server = start("--no-reload")
    assert server.url
    assert (folder / "requests").read_text() == "/_ah/warmup 0.1.0.3\n"
    server.log("GET /_ah/warmup 200")


def test_the_log_level(start: Callable[..., Running]) -> None:
    """With `warning` there are no lines for requests; the app's own are still there."""
    server = start("--no-reload", "--log-level", "warning")
    server.answers("hello")
    server.process.terminate()
    server.process.wait(PATIENCE)
    assert "GET /" not in server.stderr
    assert "Booting worker" in server.stderr


def test_open(
    tmp_path: Path, start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The browser gets the app's URL when the app is ready."""
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(
        f'#!/bin/sh\necho "$1" > {opened}.new\nmv {opened}.new {opened}\n'
    )
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(browser))
    server = start("--no-reload", "--open")
    wait_until(opened.exists, "the browser", PATIENCE)
    assert opened.read_text() == f"{server.url}\n"


def ends_well(server: Running, processes: set[int]) -> None:
    """Expect status 0 in time, and no process or traceback left."""
    assert server.process.wait(PROMISE) == 0
    wait_for_end(processes, PROMISE)
    assert "Traceback" not in server.stderr


def tree_of(server: Running) -> set[int]:
    """Return all processes of a server whose app is ready."""
    assert server.url
    processes = {server.process.pid} | descendants(server.process.pid)
    # the server, the watchdog, gunicorn, a worker
    assert len(processes) >= 4
    return processes


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_server_alone(
    start: Callable[..., Running], number: signal.Signals
) -> None:
    """It ends with status 0 in time, and so does the app."""
    server = start()
    processes = tree_of(server)
    server.process.send_signal(number)
    ends_well(server, processes)


def test_ctrl_c_goes_to_the_whole_group(start: Callable[..., Running]) -> None:
    """As it does in a terminal."""
    server = start()
    processes = tree_of(server)
    os.killpg(server.process.pid, signal.SIGINT)
    ends_well(server, processes)


def test_an_impatient_user(start: Callable[..., Running]) -> None:
    """More signals while it ends change nothing."""
    server = start()
    processes = tree_of(server)

    def press() -> bool:
        if server.process.poll() is None:
            os.killpg(server.process.pid, signal.SIGINT)
        return server.process.poll() is not None

    wait_until(press, "the end", PROMISE)
    ends_well(server, processes)


def test_an_app_that_does_not_want_to_end(
    folder: Path, start: Callable[..., Running]
) -> None:
    """It is killed, so that the server keeps its promise all the same."""
    (folder / "gunicorn.conf.py").write_text(
        "import signal\n"
        "def when_ready(server):\n"
        "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "def post_worker_init(worker):\n"
        "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    )
    server = start()
    processes = tree_of(server)
    server.process.terminate()
    ends_well(server, processes)


def test_a_signal_while_the_server_starts(
    folder: Path, start: Callable[..., Running]
) -> None:
    """At any moment before the banner, status 0 and nothing left."""
    (folder / "main.py").write_text(
        "import pathlib, threading\n"
        "pathlib.Path('loading').touch()\n"
        "threading.Event().wait()\n"
    )
    server = start()
    wait_until((folder / "loading").exists, "the import of the app", PATIENCE)
    processes = {server.process.pid} | descendants(server.process.pid)
    server.process.terminate()
    ends_well(server, processes)
    assert server.stdout == ""


def test_a_signal_before_anything_is_imported(
    folder: Path, start: Callable[..., Running]
) -> None:
    """Also as soon as the app's first process exists."""
    server = start()
    wait_until(lambda: descendants(server.process.pid), "the watchdog", PATIENCE)
    processes = {server.process.pid} | descendants(server.process.pid)
    server.process.send_signal(signal.SIGINT)
    ends_well(server, processes)


def test_sigkill_to_the_server_alone(start: Callable[..., Running]) -> None:
    """The server can do nothing then, and yet the app is ended."""
    server = start()
    processes = tree_of(server)
    server.process.kill()
    server.process.wait(PATIENCE)
    wait_for_end(processes, PROMISE)


def test_the_server_ends_with_its_parent(folder: Path, tmp_path: Path) -> None:
    """Also when the parent is killed, and can tell nobody."""
    log = tmp_path / "log"
    script = f"{' '.join(COMMAND)} {folder} --port 0 > {log} 2>&1; true"
    with subprocess.Popen(["sh", "-c", script], cwd=REPOSITORY) as parent:
        wait_until(
            lambda: log.exists() and "Press Ctrl-C" in log.read_text(),
            "the banner",
            PATIENCE,
        )
        processes = descendants(parent.pid)
        assert len(processes) >= 4
        parent.kill()
        parent.wait()
        wait_for_end(processes, PROMISE)
    assert "Traceback" not in log.read_text()


@pytest.fixture
def telling(folder: Path, tmp_path: Path) -> Path:
    """An app that answers with GAE_VERSION, a variable, and a text in shared/."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "text.py").write_text("TEXT = 'one'")
    (folder / "shared").symlink_to("../shared")
    return make_app(folder, TELLING, "env_variables: {COLOUR: blue}\n")


def edit(file: Path, old: str, new: str) -> None:
    """Change a file as an editor does: all at once.

    The size has to change too: of a file of the same second and size, Python takes
    what it has compiled before.
    """
    assert len(old) != len(new)
    fresh = file.with_name(f".{file.name}.new")
    fresh.write_text(file.read_text().replace(old, new))
    fresh.rename(file)


def test_reload(telling: Path, start: Callable[..., Running]) -> None:
    """Edits of the app, of what is behind a link, and of app.yaml take effect.

    The log names what was edited, and not the file that the editor wrote first.
    GAE_VERSION, which the sample takes as the counter's key, stays.
    """
    server = start()
    status, body = fetch(server.url)
    assert status == 200
    version = body.partition("|")[0]
    edit(telling / "main.py", '"|".join', '" / ".join')
    server.answers(f"{version} / blue / one")
    server.log(r" main\.py changed: restarting the app")
    edit(telling.parent / "shared" / "text.py", "one", "three")
    server.answers(f"{version} / blue / three")
    edit(telling / "app.yaml", "blue", "red")
    server.answers(f"{version} / red / three")


def test_a_reload_that_fails(folder: Path, start: Callable[..., Running]) -> None:
    """The error is shown and answered, and the next edit that is right mends it."""
    server = start()
    server.answers("hello")
    edit(folder / "main.py", "hello", "hello'")
    edit(folder / "main.py", 'b"', "b'''")
    wait_until(lambda: fetch(server.url)[0] == 503, "the failure", PATIENCE)
    assert "SyntaxError" in fetch(server.url)[1]
    ended = "The app ended with exit status 3 before it was ready"
    server.log(rf"error: {ended}\. main\.py, line 3: Syntax.* Mend that\. Its next")
    assert "SyntaxError" in server.stderr
    (folder / "main.py").write_text(HELLO.replace("hello", "mended"))
    server.answers("mended")


def test_a_broken_app_yaml_changes_nothing(
    telling: Path, start: Callable[..., Running]
) -> None:
    """It is said what is wrong, and the app goes on with what it had."""
    server = start()
    version = fetch(server.url)[1].partition("|")[0]
    good = (telling / "app.yaml").read_text()
    (telling / "app.yaml").write_text(good + "colour: [\n")
    server.log(r"error: .*app\.yaml, line \d: ")
    assert fetch(server.url) == (200, f"{version}|blue|one")
    (telling / "app.yaml").write_text(good.replace("blue", "green"))
    server.answers(f"{version}|green|one")


def queues(server: Running) -> list[str]:
    """Return the names of the queues."""
    status, body = fetch(f"{server.state_url}/queues")
    assert status == 200
    return [queue["name"] for queue in json.loads(body)["queues"]]


def test_queue_yaml_is_read_again(telling: Path, start: Callable[..., Running]) -> None:
    """A new queue is there without a restart; a broken file changes nothing."""
    server = start()
    assert queues(server) == ["default"]
    (telling / "queue.yaml").write_text("queue:\n- name: slow\n  rate: 1/s\n")
    wait_until(lambda: set(queues(server)) == {"default", "slow"}, "slow", PATIENCE)
    (telling / "queue.yaml").write_text("queue:\n- name: slow\n  rate: 1/year\n")
    server.log(r"error: .*queue\.yaml, line \d: .*[^.]\. The settings of before stay\.")
    assert set(queues(server)) == {"default", "slow"}
    assert "restarting the app" not in server.stderr


def test_without_reload_nothing_happens(
    folder: Path, start: Callable[..., Running]
) -> None:
    """An edit has no effect."""
    server = start("--no-reload")
    server.answers("hello")
    edit(folder / "main.py", "hello", "edited")
    with pytest.raises(TimeoutError):
        wait_until(lambda: fetch(server.url)[1] == "edited", "the edit", 1.5)


def test_a_package_that_is_missing_after_an_edit(
    folder: Path, start: Callable[..., Running]
) -> None:
    """As at the first start, it is said; that a reload does not install it, too."""
    server = start()
    server.answers("hello")
    (folder / "main.py").write_text("import not_there\n" + HELLO)
    said = "There is no module not_there, .* and start the server again: noxfile.py"
    server.log(f"error: The app ended .* before it was ready. {said}")
    status, body = fetch(server.url)
    assert status == 503
    assert re.search(said, body)
    (folder / "requirements.txt").write_text("not_there\n")
    server.log("warning: what requirements.txt names is not installed meanwhile")


def test_open_without_a_browser(folder: Path, start: Callable[..., Running]) -> None:
    """There is a line instead of a page."""
    server = start("--no-reload", "--open")
    server.answers("hello")
    server.log(f"warning: no browser was found to open {server.url}")


def test_debug_shows_the_api_calls(folder: Path, start: Callable[..., Running]) -> None:
    """Each with the time it took."""
    make_app(folder, CALLING, "app_engine_apis: true")
    server = start("--no-reload", "--log-level", "debug")
    server.answers("None")
    server.log(r"API call memcache\.Get \d+\.\d ms$")


def test_an_app_that_crashes_comes_back(
    folder: Path, start: Callable[..., Running]
) -> None:
    """Its death is logged, and after a moment it answers again."""
    make_app(folder, entrypoint="gunicorn --no-control-socket --pid pid main:app")
    server = start()
    server.answers("hello")
    os.kill(int((folder / "pid").read_text()), signal.SIGKILL)
    server.log(
        "error: The app ended with signal 9 by itself. Its next start is in 1 s."
    )
    server.answers("hello")


class _Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def log_to() -> Iterator[Callable[[io.StringIO], None]]:
    """Log two lines to a stream as the server does."""
    root, ours = logging.getLogger(), logging.getLogger("gae_devserver")
    before = (root.level, list(root.handlers), ours.level, logging.raiseExceptions)

    def log(stream: io.StringIO) -> None:
        console.set_up_logging("info", stream)
        ours.info("a %s", "line")
        ours.warning("careful")
        ours.debug("not shown")

    yield log
    root.level, root.handlers[:], ours.level, logging.raiseExceptions = before


def test_colour_is_for_terminals(
    log_to: Callable[[io.StringIO], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only there, and not where NO_COLOR is set."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = _Terminal()
    log_to(terminal)
    assert "\x1b[33mwarning: careful\x1b[0m\n" in terminal.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO, _Terminal])
def test_no_colour(
    stream: type[io.StringIO],
    log_to: Callable[[io.StringIO], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file, and a terminal under NO_COLOR, get time and text only."""
    if stream is _Terminal:
        monkeypatch.setenv("NO_COLOR", "1")
    output = stream()
    log_to(output)
    lines = output.getvalue().splitlines()
    assert [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in lines] == [
        "a line",
        "warning: careful",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/plain?x=%41", "/plain?x=%41"),
        ("/é", "/é"),
        ("/\x1b[31m", "/\\x1b[31m"),
        ("/\x07\n", "/\\x07\\n"),
        ("/\u202e", "/\\u202e"),
        ("/\udce9", "/\ufffd"),
    ],
)
def test_text_from_outside_is_harmless(text: str, shown: str) -> None:
    """Nothing that a client sends can move the cursor or reorder a line."""
    assert console.printable(text) == shown


def test_it_allows_itself_three_seconds() -> None:
    """Neither the shutdown nor the end of the app may take longer than is promised."""
    assert server_module._SHUTDOWN_SECONDS <= 3
    assert app_watchdog._GRACE_SECONDS < server_module._SHUTDOWN_SECONDS
