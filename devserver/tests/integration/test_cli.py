"""`gae-devserver` as a user meets it: options, banner, errors, log."""

import errno
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from google.appengine.api.memcache import memcache_service_pb2
from google.appengine.ext.remote_api import remote_api_bytes_pb2

import gae_devserver
from gae_devserver.storage.storage import FILE_NAME
from gae_devserver.testing import wait_until
from tests.helpers.app_folder import HELLO, make_app
from tests.helpers.command import PATIENCE, Running, edit, fetch, run

PROMISE = 10.0
"""Seconds to wait for the end: 3 are promised, and a loaded machine gets more."""

# Makes an API call.
CALLING = """\
from google.appengine.api import memcache, wrap_wsgi_app

def call(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(memcache.get("a")).encode()]

app = wrap_wsgi_app(call)
"""


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
        assert json.load(error.value)["error"].startswith(f"{path} ")
    server.process.terminate()
    assert server.process.wait(PROMISE) == 0
    # one for the request, one for what is lost at the end
    errors = re.findall("(?m)^.* error: .*$", server.stderr)
    assert [str(path) in line for line in errors] == [True, True]
    assert "Traceback" not in server.stderr


def test_the_banner_says_where_the_storage_is(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    """In full, also where the option is a path from the current folder on."""
    server = start("--no-reload", "--storage", os.path.relpath(tmp_path))
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
    server.log(rf"warning: --host 0\.0\.0\.0: .* port {port} ")
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
        (["missing"], " missing."),
        (["missing/app.yaml"], " missing/app.yaml."),
        (["other"], "app.yaml in other."),
        (["app/main.py"], " app/main.py "),
        (["app/../other"], "app.yaml in {cwd}/other."),
        (["app", "--port", "0", "--storage", "app/main.py"], " app/main.py "),
        (["app", "--faults", "twice=x"], "error: --faults: 'twice=x'"),
        (["app", "--faults", "fire=1"], "'fire'"),
        (["app", "--faults", "fire=1"], "twice, lost, error, slow, rpc, kill"),
        (["app", "--fast"], "--fast"),
        (["app", "--port", "http"], "error: --port: 'http'"),
        (["app", "--port", "65536"], "error: --port: '65536'"),
        (["app", "--port", "-1"], "error: --port: '-1'"),
        (["app", "--host", "here"], "error: --host: 'here'"),
        (["app", "--port", "0", "--host", "192.0.2.1"], " 192.0.2.1."),
        (["app", "--project", "X"], "error: --project: 'X'"),
        (["app", "--project", "dev~app"], "error: --project: 'dev~app'"),
        (["app", "--task-deadline", "0"], "error: --task-deadline: '0'"),
        (["app", "--task-deadline", "long"], "error: --task-deadline: 'long'"),
        (["app", "--log-level", "loud"], "'loud'"),
    ],
)
def test_a_mistake_on_the_command_line(
    folder: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    """Status 2, and one line says what is wrong."""
    (tmp_path / "other").mkdir()
    result = run(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("gae-devserver: error: ")
    assert message.format(cwd=tmp_path) in line


@pytest.mark.parametrize(
    ("option", "value", "example"),
    [
        ("--faults", "twice=x", "--faults twice=0.1"),
        ("--port", "abc", "--port 8080"),
        ("--host", "localhost", "--host 0.0.0.0"),
    ],
)
def test_a_wrong_value_has_an_example(option: str, value: str, example: str) -> None:
    """The line shows a value that the option takes."""
    assert example in run("app", option, value).stderr


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
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"gae-devserver: error: Port {port} ")
    assert "--port 0" in line


def test_windows() -> None:
    """One line says what to use there."""
    script = """
import os, sys, types
import gae_devserver.__main__ as command
command.os = types.SimpleNamespace(**{**vars(os), "name": "nt"})
sys.argv = ["gae-devserver", "app"]
command.main()
"""
    result = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("gae-devserver: error: ")
    assert "WSL" in line


def test_a_python_without_the_packages() -> None:
    """One line says which package is missing, where, and what to install."""
    # -S: without site-packages
    result = subprocess.run(
        [sys.executable, "-S", "-m", "gae_devserver", "app"],
        env={**os.environ, "PYTHONPATH": str(Path(gae_devserver.__path__[0]).parent)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("gae-devserver: error: ")
    assert " google " in line
    assert sys.executable in line


def test_an_app_that_dies_at_start(folder: Path) -> None:
    """Status 1; what it printed is shown, once, and then where and what to do."""
    (folder / "main.py").write_text("raise RuntimeError('broken app')")
    result = run(folder, "--port", "0")
    assert result.returncode == 1
    assert len(re.findall("(?m)^RuntimeError: broken app$", result.stderr)) == 1
    assert "asyncio" not in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("gae-devserver: error: ")
    assert " exit status 3 " in last
    assert "main.py, line 1: RuntimeError: broken app." in last
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("main", "entrypoint", "message"),
    [
        ("import not_there", None, "module not_there "),
        (HELLO, "no-gunicorn-here main:app", "exit status 127"),
        (HELLO, "python -m not_there main:app", "module not_there "),
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
    assert "warning: " not in result.stderr


def test_hints_of_the_program_that_starts_the_server(folder: Path) -> None:
    """A program that installs the requirements itself passes in what it does."""
    make_app(folder, "import not_there")
    script = """
import sys
from gae_devserver.__main__ import main
from gae_devserver.app.hints import Hints

main(Hints(install="The start script installs it."))
"""
    result = subprocess.run(
        [sys.executable, "-c", script, str(folder), "--port", "0"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.endswith("The start script installs it.\n")


@pytest.mark.parametrize(
    ("main", "message"),
    [
        (None, " main in {folder},"),
        ("import parts.missing", " parts.missing in {folder}."),
        ("import urllib2", " urllib.request."),
        ("import webapp2", " webapp2 "),
    ],
)
def test_an_app_that_lacks_something_else(
    folder: Path, main: str | None, message: str
) -> None:
    """It is named, and the advice is not to install a package."""
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
    assert any("automatic_scaling" in line for line in first)
    assert any("127.0.0.1" in line for line in first)


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


def test_open_without_a_browser(folder: Path, start: Callable[..., Running]) -> None:
    """There is a line instead of a page."""
    server = start("--no-reload", "--open")
    server.answers("hello")
    server.log(f"warning: .*{server.url}")


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
    server.log(r"error: .* signal 9 .* in 1 s\.")
    server.answers("hello")
