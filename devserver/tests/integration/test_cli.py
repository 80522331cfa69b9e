"""`gae-devserver` as a user meets it: options, banner, errors, log."""

import contextlib
import errno
import json
import os
import re
import resource
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from google.appengine.api.memcache import memcache_service_pb2
from google.appengine.ext.remote_api import remote_api_bytes_pb2

import gae_devserver
from gae_devserver.http.server import TOKEN_HEADER
from gae_devserver.storage.storage import FILE_NAME, Storage
from gae_devserver.testing import Response, wait_until
from gae_devserver.testing.processes import running
from gae_devserver.testing.requests import send
from tests.helpers.app_folder import CALLING, HELLO, RUNTIME, make_app
from tests.helpers.command import (
    COMMAND,
    PATIENCE,
    Running,
    edit,
    fetch,
    run,
    run_python,
)
from tests.helpers.datastore_v1 import RawClient
from tests.helpers.sockets import listening_tcp_sockets

# Answers with its environment.
SHOW_ENVIRONMENT = """\
import json, os

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [json.dumps(dict(os.environ)).encode()]
"""
# Writes its process id, so that a test can see whether it still runs.
WRITES_ITS_PROCESS = """\
import os, pathlib
pathlib.Path("pid").write_text(str(os.getpid()))
"""


def error_of(result: subprocess.CompletedProcess[str], status: int) -> str:
    """Expect that a command has failed; return its last line, the error."""
    assert result.returncode == status
    assert result.stdout == ""
    assert not re.search("asyncio|Errno", result.stderr)
    last = result.stderr.splitlines()[-1]
    assert last.startswith("gae-devserver: error: ")
    return last


def write(server: Running, token: str, path: str, body: bytes = b"{}") -> Response:
    """Send a change to the State API."""
    headers = [("Content-Type", "application/json"), (TOKEN_HEADER, token)]
    return send(server.state_url, "POST", path, headers, body)


def makes_calls(port: str, token: str) -> bool:
    """Return whether an API call with a token, and without a ticket, is answered."""
    call = remote_api_bytes_pb2.Request(
        service_name="memcache",
        method="Stats",
        request=memcache_service_pb2.MemcacheStatsRequest().SerializeToString(),
    )
    url, data = f"http://127.0.0.1:{port}", call.SerializeToString()
    answer = send(url, "POST", "/rpc_http", [(TOKEN_HEADER, token)], data)
    response = remote_api_bytes_pb2.Response.FromString(answer.body)
    return bool(response.HasField("response"))


@pytest.mark.parametrize("is_stored", [False, True])
def test_the_banner(
    start: Callable[..., Running], tmp_path: Path, is_stored: bool
) -> None:
    """The banner has the app, addresses and how to stop; the app is ready by then."""
    options = ["--storage", os.path.relpath(tmp_path)] if is_stored else []
    storage = str(tmp_path.resolve() / FILE_NAME) if is_stored else "in memory"
    server = start("--no-reload", *options)
    assert fetch(server.url) == (200, "hello")
    port = int(server.url.removeprefix("http://127.0.0.1:"))
    assert server.stdout == (
        f"Development server for app (service default, {RUNTIME})\n"
        f"  App        {server.url}\n"
        f"  Console    {server.state_url}/#{server.token}\n"
        f"  State API  {server.state_url}\n"
        f"  Token      {server.token}\n"
        f"  Datastore  {server.banner('Datastore')}\n"
        f"  Tasks      {server.banner('Tasks')}\n"
        "  Queues     default\n"
        f"  Storage    {storage}\n"
        "Press Ctrl-C to stop. For development only: do not expose this server.\n"
    )
    assert re.fullmatch("[0-9a-f]{32}", server.token)
    variable, _, address = server.banner("Datastore").partition("=")
    assert variable == "DATASTORE_EMULATOR_HOST"
    host, _, datastore_port = address.partition(":")
    socket.create_connection((host, int(datastore_port)), PATIENCE).close()
    with socket.socket(socket.AF_INET6) as client:
        reached = client.connect_ex(("::1", port))
        assert reached in (0, errno.EADDRNOTAVAIL, errno.ENETUNREACH)
    server.log(r"^\d\d:\d\d:\d\d GET / 200 \d+ ms$")
    assert "\x1b" not in server.stderr


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux has it")
def test_a_full_disk(start: Callable[..., Running], tmp_path: Path) -> None:
    """What cannot be stored is an error in one line that names the file.

    The request fails, so the server has kept its promise: it stops with status 0.
    """
    folder = tmp_path / "storage"
    server = start("--no-reload", "--storage", str(folder))
    token = server.token
    path = folder / FILE_NAME
    room = path.with_name(f"{FILE_NAME}-wal").stat().st_size
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (room, room))

    answer = write(server, token, "/clock/advance", b'{"seconds": 1}')
    assert answer.status == 500
    assert json.loads(answer.body)["error"].startswith(f"{path} ")
    server.process.terminate()
    assert server.process.wait(PATIENCE) == 0
    # one for the request, one for what is lost at the end
    errors = re.findall("(?m)^.* error: .*$", server.stderr)
    assert [str(path) in line for line in errors] == [True, True]
    assert "Traceback" not in server.stderr


def test_closed_streams(start: Callable[..., Running]) -> None:
    """The app answers, though the shell has closed what it would print to."""
    closing = ["sh", "-c", 'exec "$@" <&- 2>&-', "sh", *COMMAND]
    server = start(command=closing)
    assert fetch(server.url) == (200, "hello")
    assert server.stderr == ""


def test_each_run_has_a_token_of_its_own(
    start: Callable[..., Running], folder: Path
) -> None:
    """A token opens the State API and API port of its run; the app does not get it."""
    app_yaml = "app_engine_apis: true\nenv_variables: {COLOR: blue}\n"
    make_app(folder, SHOW_ENVIRONMENT, app_yaml)
    servers = [start(), start("--no-reload")]
    tokens = [server.token for server in servers]
    for server, own in zip(servers, tokens, strict=True):
        environment = fetch(server.url)[1]
        assert own not in environment
        port = json.loads(environment)["API_PORT"]
        for token in (*tokens, ""):
            answer = write(server, token, "/queues/default/pause")
            assert answer.status == (200 if token == own else 403)
            assert makes_calls(port, token) is (token == own)

    edit(folder / "app.yaml", "blue", "red")
    wait_until(lambda: '"red"' in fetch(servers[0].url)[1], "a reload", PATIENCE)
    assert tokens[0] not in fetch(servers[0].url)[1]


@pytest.mark.skipif(
    sys.platform != "linux", reason="127.0.0.2 is an address of this machine on Linux"
)
@pytest.mark.parametrize("host", ["", "0.0.0.0", "127.0.0.2"])
def test_who_can_reach_the_app(start: Callable[..., Running], host: str) -> None:
    """Other machines reach the app with --host only; other ports stay on loopback."""
    server = start("--no-reload", *(["--host", host] if host else []))
    assert fetch(server.url) == (200, "hello")
    port = server.url.rpartition(":")[2]
    elsewhere = f"http://127.0.0.2:{port}"
    if host:
        assert fetch(elsewhere) == (200, "hello")
        server.log(rf"warning: --host {re.escape(host)}: .* port {port} ")
    else:
        with pytest.raises(ConnectionRefusedError):
            fetch(elsewhere)
        assert "--host" not in server.stderr
    assert (f"\n             {elsewhere}\n" in server.stdout) is (host == "127.0.0.2")
    of_server, of_app = listening_tcp_sockets(server.process.pid)
    assert of_app == []
    others = {address for address, other in of_server if other != int(port)}
    assert others <= {"127.0.0.1", "::1"}


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        ([], ["gae-devserver .", "pyproject.toml"]),
        (["other"], ["app.yaml in other."]),
        (["app/../other"], ["app.yaml in {cwd}/other."]),
        (["app", "--port", "0", "--storage", "app/main.py"], [" app/main.py "]),
        (
            ["app", "--port", "0", "--storage", "app/main.py/storage"],
            [" app/main.py/storage ", "--storage"],
        ),
        (["app", "--port", "0", "--storage", "."], [FILE_NAME]),
        (["app", "--faults", "fire=1"], ["--faults: ", "'fire'", "twice, lost, error"]),
        (["app", "--fast"], ["--fast"]),
        (["app", "--cron=yes"], ["--cron", "no value", "'yes'"]),
        (["app", "--port", "0", "app"], ["app", "twice"]),
        (["--project", "dev-app", "shell", "app"], ["gae-devserver shell APP"]),
        (["app", "run", "fill.py"], ["gae-devserver run APP"]),
        (["app", "--port", "http"], ["--port: 'http'", "8080"]),
        (["app", "--port", "65536"], ["--port: '65536'"]),
        (["app", "--port", "-1"], ["--port: '-1'"]),
        (["app", "--api-port", "8080"], ["--port and --api-port are both 8080"]),
        (["app", "--host", "localhost"], ["--host: 'localhost'", "--host 0.0.0.0"]),
        (["app", "--port", "0", "--host", "192.0.2.1"], [" 192.0.2.1."]),
        (["app", "--project", "X"], ["--project: 'X'"]),
        (["app", "--project", "dev~app"], ["--project: 'dev~app'"]),
        (["app", "--task-deadline", "0"], ["--task-deadline: '0'"]),
        (["app", "--task-deadline", "long"], ["--task-deadline: 'long'"]),
        (["app", "--smtp-host", "a:b"], ["--smtp-host: 'a:b'"]),
        (
            ["app", "--http-target-host", "https://a.test"],
            ["--http-target-host: 'https://a.test'"],
        ),
        (["app", "--log-level", "loud"], ["'loud'"]),
    ],
)
def test_a_mistake_on_the_command_line(
    folder: Path, tmp_path: Path, arguments: list[str], facts: list[str]
) -> None:
    """Status 2, and one line says what is wrong and what would be right."""
    (tmp_path / "other").mkdir()
    (tmp_path / FILE_NAME).write_text("This is no database.\n" * 100)
    result = run(*arguments, cwd=tmp_path)
    error = error_of(result, 2)
    assert result.stderr == f"{error}\n"
    assert all(fact.format(cwd=tmp_path) in error for fact in facts)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("app.yaml", "runtime: python313\nfoo: 1"),
        ("queue.yaml", "x:"),
        ("index.yaml", "x:"),
    ],
)
def test_a_broken_file(folder: Path, file: str, text: str) -> None:
    """Status 2, with the file and the line, also when the app runs already."""
    (folder / file).write_text(text)
    error = error_of(run(folder, "--port", "0"), 2)
    assert re.search(rf"error: .*{file}, line \d: ", error)


def test_an_entity_that_cannot_be_read(folder: Path, tmp_path: Path) -> None:
    """Status 2, the file stays as it is, and the app, which may run already, ends."""
    storage = Storage(tmp_path, "unit-project")
    storage.put_entity("", b"key", b"not an entity")
    storage.close()
    file = tmp_path / FILE_NAME
    before = file.read_bytes()
    make_app(folder, WRITES_ITS_PROCESS + HELLO)
    options = ("--port=0", f"--storage={tmp_path}", "--project=unit-project")
    result = run(folder, *options)
    assert f"{file} is damaged: " in error_of(result, 2)
    assert "Traceback" not in result.stderr
    assert file.read_bytes() == before
    pid = folder / "pid"
    assert not pid.exists() or not running({int(pid.read_text())})


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_port_in_use(folder: Path, address: str) -> None:
    """Status 2, and what to do; also if the port is taken only on IPv6."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        other = socket.create_server((address, 0), family=family)
    except OSError:
        pytest.skip(f"this machine has no {address}")
    with other:
        port = other.getsockname()[1]
        error = error_of(run(folder, "--port", str(port)), 2)
    assert f" Port {port} " in error
    assert "--port 0" in error


def test_chosen_ports(start: Callable[..., Running], folder: Path) -> None:
    """Each port can be chosen, also again after a run; in use, it is an error."""
    options = ("--console-port", "--api-port", "--grpc-port")
    with contextlib.ExitStack() as stack:
        taken = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in options
        ]
        ports = [sock.getsockname()[1] for sock in taken]
        chosen = [f"{o}={p}" for o, p in zip(options, ports, strict=True)]
        for option, port in zip(options, ports, strict=True):
            error = error_of(run(folder, "--port=0", f"{option}={port}"), 2)
            assert f" Port {port} " in error
            assert f"{option} 0" in error
    for _ in range(2):
        server = start(*chosen)
        assert server.state_url == f"http://127.0.0.1:{ports[0]}"
        grpc = server.banner("Tasks").rpartition(":")[2]
        socket.create_connection(("127.0.0.1", int(grpc)), PATIENCE).close()
        assert int(grpc) == ports[2]
        error = error_of(run(folder, "--port=0", f"--grpc-port={grpc}"), 2)
        assert f" Port {grpc} " in error
        of_server, _ = listening_tcp_sockets(server.process.pid)
        assert {("127.0.0.1", port) for port in ports} <= set(of_server)
        server.process.terminate()
        server.process.wait(PATIENCE)


def test_a_token_of_the_user(
    folder: Path, start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment can set the token, which no process of the app gets."""
    variable = "GAE_DEVSERVER_TOKEN"
    make_app(folder, SHOW_ENVIRONMENT, "app_engine_apis: true\n")
    server = start("--no-reload", variables={variable: "0123456789%abcde"})
    assert server.token == "0123456789%abcde"
    assert server.banner("Console").endswith("/#0123456789%25abcde")
    assert write(server, server.token, "/queues/default/pause").status == 200
    assert variable not in fetch(server.url)[1]
    for token in ("0123456789abcde", "0123456789 abcdef", "0123456789\u00e4abcdef", ""):
        monkeypatch.setenv(variable, token)
        error = error_of(run(folder, "--port=0"), 2)
        assert variable in error
        assert not token or token not in error


def test_windows() -> None:
    """One line says what to use there."""
    script = "import gae_devserver.__main__ as m; m.main(system='nt')"
    assert "WSL" in error_of(run_python("-c", script, "app"), 1)


def test_a_python_without_the_packages() -> None:
    """One line says which package is missing, and for which Python."""
    source = str(Path(gae_devserver.__path__[0]).parent)
    # -S: without site-packages
    arguments = ("-S", "-m", "gae_devserver", "app")
    result = run_python(*arguments, env={**os.environ, "PYTHONPATH": source})
    error = error_of(result, 1)
    assert result.stderr == f"{error}\n"
    assert " ruamel " in error
    assert sys.executable in error


@pytest.mark.parametrize(
    ("main", "entrypoint", "shown", "facts"),
    [
        (
            "raise RuntimeError('broken app')",
            None,
            "RuntimeError: broken app",
            [" exit status 3 ", "main.py, line 1: RuntimeError: broken app."],
        ),
        (
            "import not_there",
            None,
            "ModuleNotFoundError: No module named 'not_there'",
            ["module not_there ", "{folder}/requirements.txt", sys.executable],
        ),
        (
            f"{CALLING}value = memcache.get('a')\n",
            None,
            "google.*Error: Attempted RPC call without active security ticket",
            ["main.py, line 8: ", "calls memcache in `value = ", "on import"],
        ),
        (
            f"{CALLING.replace('app =', 'call({}, print)  #')}",
            None,
            'AssertionError: No api proxy found for service "memcache"',
            ["main.py, line 5: ", "on import (by main.py, line 7)"],
        ),
        (
            HELLO,
            "no-gunicorn-here main:app",
            "not found",
            [" exit status 127 ", " no-gunicorn-here,"],
        ),
    ],
)
def test_an_app_that_dies_at_start(
    folder: Path, main: str, entrypoint: str | None, shown: str, facts: list[str]
) -> None:
    """Status 1; its output is shown once, and then the reason and what to do."""
    make_app(folder, main, "app_engine_apis: true", entrypoint=entrypoint)
    result = run(folder, "--port", "0")
    error = error_of(result, 1)
    assert all(fact.format(folder=folder) in error for fact in facts)
    assert len(re.findall(f"(?m){shown}$", result.stderr)) == 1
    assert "warning: " not in result.stderr


def test_a_site_of_static_files(folder: Path, start: Callable[..., Running]) -> None:
    """As on App Engine, it needs no app; the reason why there is none is a warning."""
    handlers = r"""handlers:
- {url: /, static_files: index.html, upload: index.html}
- {url: '/(.*\.css)', static_files: '\1', upload: '.*\.css'}"""
    make_app(folder, "", handlers)
    (folder / "main.py").unlink()
    (folder / "index.html").write_text("front")
    server = start("--no-reload")
    assert fetch(server.url) == (200, "front")
    assert fetch(server.url, "/other")[0] == 503
    server.log("warning: .* no module main in ")


def test_warnings_come_before_the_banner(
    folder: Path, start: Callable[..., Running]
) -> None:
    """Settings without effect, and a port that others can reach, cause warnings."""
    main = (
        "import os\n"
        "from wsgiref.simple_server import make_server\n"
        f"{HELLO}\n"
        "make_server('127.0.0.1', int(os.environ['PORT']), app).serve_forever()\n"
    )
    make_app(folder, main, "automatic_scaling: {max_instances: 1}", "python main.py")
    server = start("--no-reload")
    assert server.url
    assert re.search("warning: .*automatic_scaling", server.stderr)
    assert re.search(r"warning: .*127\.0\.0\.1", server.stderr)


def test_the_log_level(folder: Path, start: Callable[..., Running]) -> None:
    """`warning` omits the lines of requests, but not the app's own output."""
    make_app(folder, f"print('imported')\n{HELLO}")
    server = start("--no-reload", "--log-level", "warning")
    server.answers("hello")
    server.process.terminate()
    server.process.wait(PATIENCE)
    assert "GET /" not in server.stderr
    assert server.stderr == "imported\n"


def test_open(
    tmp_path: Path, start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A browser gets an address that leads to the console with the token, once.

    Every user sees the command line of a browser, so the token is not in it, nor in the
    warning that there is no browser.
    """
    opened, browser = tmp_path / "opened", tmp_path / "browser"
    browser.write_text(
        f'#!/bin/sh\necho "$1" > {opened}.new\nmv {opened}.new {opened}\n'
    )
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(browser))
    server = start("--no-reload", "--open")
    wait_until(opened.exists, "the browser", PATIENCE)
    url = opened.read_text().strip()
    assert server.token not in url
    assert url.startswith(f"{server.state_url}/")
    path = url.removeprefix(server.state_url)
    answer = send(server.state_url, "GET", path)
    assert (answer.status, answer.headers["Location"]) == (303, f"/#{server.token}")
    assert send(server.state_url, "GET", path).status == 404

    monkeypatch.setenv("BROWSER", "no-such-browser")
    server = start("--no-reload", "--open")
    assert server.token not in server.log("warning: .*browser.*")


def test_what_answers_before_the_app_is_ready(
    start: Callable[..., Running], folder: Path
) -> None:
    """The datastore answers while the app imports, and so does the State API."""
    waits = "import os, time\nwhile not os.path.exists('go'):\n    time.sleep(0.01)\n"
    (folder / "main.py").write_text(waits + HELLO)
    with contextlib.ExitStack() as stack:
        taken = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in "12"
        ]
        grpc_port, console = [sock.getsockname()[1] for sock in taken]
    ports = (f"--grpc-port={grpc_port}", f"--console-port={console}")
    server = start("--project=my-project", *ports)

    def listens() -> bool:
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", grpc_port)).close()
            return True
        return False

    wait_until(listens, "the gRPC port listens", PATIENCE)
    with contextlib.closing(RawClient(f"127.0.0.1:{grpc_port}")) as client:
        key = {"path": [{"kind": "A", "name": "a"}]}
        found = client.call("Lookup", project_id="my-project", keys=[key])
        assert len(found.missing) == 1
    shown = send(f"http://127.0.0.1:{console}", "GET", "/services", [], None)
    assert json.loads(shown.body)["services"][0]["state"] == "starting"
    assert server.stdout == ""
    (folder / "go").touch()
    server.answers("hello")
