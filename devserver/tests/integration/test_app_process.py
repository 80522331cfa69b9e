"""One process of the app: its environment, where it listens, its output, its end."""

import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gae_devserver.app.process import AppProcess, environment
from gae_devserver.config.app_yaml import load_app_yaml
from gae_devserver.testing import wait_until
from gae_devserver.testing.processes import descendants, running, wait_for_end
from tests.helpers.app_folder import make_app
from tests.helpers.sockets import listening_tcp_sockets

PATIENCE = 20.0

# It does what a test wants of it, says so in a file, and then only waits.
SCRIPT = """\
import os, signal, subprocess, sys

def write(name, text):
    with open(name + ".new", "w") as file:
        file.write(str(text))
    os.rename(name + ".new", name)

{}
write("started", os.getpid())
while True:
    signal.pause()
"""


def script(text: str = "") -> str:
    """Return an app that does `text` and then waits."""
    return SCRIPT.format(textwrap.dedent(text))


def read(path: Path) -> str:
    """Return what a file holds, once it is there."""
    wait_until(path.exists, str(path), PATIENCE)
    return path.read_text()


def ended(process: AppProcess) -> int:
    """Wait for the end of a process and return its exit status."""
    assert process.wait(PATIENCE)
    assert process.exit_status is not None
    return process.exit_status


def answers(process: AppProcess) -> bool:
    """Say whether the socket of a gunicorn takes connections."""
    assert process.socket_path is not None
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(process.socket_path) == 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The app's folder."""
    return tmp_path / "app"


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[[], AppProcess]]:
    """Start the app in `folder`."""
    processes = []

    def start_app() -> AppProcess:
        app = load_app_yaml(folder)
        processes.append(
            AppProcess(app, project="p", version="v1", api_port=9, datastore_port=9)
        )
        return processes[-1]

    yield start_app
    for process in processes:
        process.stop()
    for process in processes:
        assert process.wait(PATIENCE)


def environment_of(folder: Path, app_yaml: str = "") -> dict[str, str]:
    """Return the environment that an app with such an app.yaml gets."""
    app = load_app_yaml(make_app(folder, app_yaml=app_yaml))
    return environment(
        app,
        project="my-project",
        version="v7",
        api_port=1234,
        datastore_port=4321,
        port=5678,
    )


def test_the_environment_is_app_engines(folder: Path) -> None:
    """The app finds the variables that it has on App Engine, and the API server."""
    variables = environment_of(folder, "service: worker\ninstance_class: F2\n")
    expected = {
        "API_HOST": "127.0.0.1",
        "API_PORT": "1234",
        "APPLICATION_ID": "dev~my-project",
        "GAE_APPLICATION": "dev~my-project",
        "GAE_ENV": "localdev",
        "GAE_MEMORY_MB": "768",
        "GAE_RUNTIME": "python311",
        "GAE_SERVICE": "worker",
        "GAE_VERSION": "v7",
        "GOOGLE_CLOUD_PROJECT": "my-project",
        "PORT": "5678",
        "PYTHONUNBUFFERED": "1",
    }
    assert {name: variables.get(name) for name in expected} == expected
    assert variables["GAE_INSTANCE"] != environment_of(folder)["GAE_INSTANCE"]


def test_variables_that_lead_the_sdk_astray_are_left_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a developer's shell has of another app or of the Cloud SDK stays out."""
    bad = [
        *("DATASTORE_PROJECT_ID", "DATASTORE_APP_ID", "GAE_DEPLOYMENT_ID"),
        *("APPENGINE_USE_CLOUDTASK_PUSH_QUEUE", "SERVER_SOFTWARE"),
    ]
    for name in [*bad, "DATASTORE_EMULATOR_HOST"]:
        monkeypatch.setenv(name, "x")
    variables = environment_of(folder)
    assert not variables.keys() & set(bad)
    # an emulator of the shell's would be asked in place of this server
    assert variables["DATASTORE_EMULATOR_HOST"] == "127.0.0.1:4321"


def test_env_variables_of_app_yaml(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They win over the shell's, but not over what is App Engine's to set."""
    monkeypatch.setenv("COLOUR", "of the shell")
    variables = environment_of(
        folder,
        "env_variables: {COLOUR: blue, GAE_ENV: standard, PORT: '1', API_PORT: '2', "
        "DATASTORE_PROJECT_ID: p, PYTHONUNBUFFERED: '', "
        "DATASTORE_EMULATOR_HOST: '127.0.0.1:99'}",
    )
    assert variables["DATASTORE_EMULATOR_HOST"] == "127.0.0.1:99"
    assert variables["COLOUR"] == "blue"
    assert variables["GAE_ENV"] == "localdev"
    assert (variables["PORT"], variables["API_PORT"]) == ("5678", "1234")
    assert "DATASTORE_PROJECT_ID" not in variables
    assert variables["PYTHONUNBUFFERED"] == ""


@pytest.mark.parametrize(
    ("lower", "upper", "expected_lower", "expected_upper"),
    [
        ("", "", "", ""),
        ("intern.test", "", "intern.test,", "intern.test,"),
        ("", "intern.test", "intern.test,", "intern.test,"),
        ("intern.test", "other.test", "intern.test,", "other.test,"),
    ],
)
def test_no_proxy_for_what_is_here(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    lower: str,
    upper: str,
    expected_lower: str,
    expected_upper: str,
) -> None:
    """Else gRPC asks the proxy for the datastore's port; one's own exceptions stay.

    Also where only one of the variables has them: a program reads but one.
    """
    monkeypatch.setenv("http_proxy", "http://proxy.test:3128")
    for name, value in (("no_proxy", lower), ("NO_PROXY", upper)):
        monkeypatch.delenv(name, raising=False)
        if value:
            monkeypatch.setenv(name, value)
    variables = environment_of(folder)
    assert variables["http_proxy"] == "http://proxy.test:3128"
    assert variables["no_proxy"] == expected_lower + "localhost,127.0.0.1,::1"
    assert variables["NO_PROXY"] == expected_upper + "localhost,127.0.0.1,::1"


def test_programs_of_this_python_are_found_first(folder: Path) -> None:
    """The gunicorn beside this interpreter runs, also where nobody activated it."""
    path = environment_of(folder)["PATH"].split(os.pathsep)
    assert path[0] == str(Path(sys.executable).parent)
    assert path[1:] == os.environ["PATH"].split(os.pathsep)


def test_gunicorn_listens_on_a_socket_of_this_user(
    folder: Path, start: Callable[[], AppProcess]
) -> None:
    """No TCP port is open, whatever gunicorn's own configuration says."""
    make_app(folder)
    (folder / "gunicorn.conf.py").write_text(
        "import os\nbind = '127.0.0.1:' + os.environ['PORT']\n"
    )
    process = start()
    assert process.socket_path is not None
    assert process.notice is None
    assert len(process.socket_path) < 100
    mode = Path(process.socket_path).parent.stat().st_mode
    assert stat.S_IMODE(mode) == 0o700
    wait_until(lambda: answers(process), "the app's socket", PATIENCE)
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", process.port)) != 0


def test_the_default_entrypoint_is_gunicorn(
    folder: Path, start: Callable[[], AppProcess]
) -> None:
    """Without an entrypoint App Engine runs gunicorn with main:app; so here."""
    make_app(folder)
    (folder / "app.yaml").write_text("runtime: python311\n")
    process = start()
    wait_until(lambda: answers(process), "the app's socket", PATIENCE)
    wait_until(lambda: "Booting worker" in process.tail(), "a worker", PATIENCE)


def test_a_users_own_gunicorn_options_are_kept(
    folder: Path, start: Callable[[], AppProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    """GUNICORN_CMD_ARGS of the shell is added to, not replaced."""
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--pid gunicorn.pid")
    make_app(folder)
    process = start()
    read(folder / "gunicorn.pid")
    wait_until(lambda: answers(process), "the app's socket", PATIENCE)


@pytest.mark.parametrize(
    "arguments", ["--bind=0.0.0.0:0 --workers 1", "-Rb :0", "-b :0 -b :0"]
)
@pytest.mark.parametrize("is_the_shells", [True, False])
def test_where_a_users_own_options_have_gunicorn_listen(
    folder: Path,
    start: Callable[[], AppProcess],
    monkeypatch: pytest.MonkeyPatch,
    arguments: str,
    is_the_shells: bool,
) -> None:
    """It is left out of GUNICORN_CMD_ARGS: gunicorn would listen there too."""
    app_yaml = ""
    if is_the_shells:
        monkeypatch.setenv("GUNICORN_CMD_ARGS", arguments)
    else:
        app_yaml = f"env_variables: {{GUNICORN_CMD_ARGS: '{arguments}'}}\n"
    make_app(folder, app_yaml=app_yaml)
    process = start()
    wait_until(lambda: answers(process), "the app's socket", PATIENCE)
    _, addresses = listening_tcp_sockets(process.pid)
    assert addresses == []


def test_a_socket_in_a_folder_with_a_long_name(
    folder: Path,
    tmp_path: Path,
    start: Callable[[], AppProcess],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The system limits the path's length, so a long folder is not used."""
    long = tmp_path / ("with a space " + "x" * 90)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    make_app(folder)
    process = start()
    assert process.socket_path is not None
    assert len(process.socket_path) < 100
    wait_until(lambda: answers(process), "the app's socket", PATIENCE)
    assert list(long.iterdir()) == []


@pytest.mark.parametrize(
    ("entrypoint", "advice", "network"),
    [
        ("python main.py", "127.0.0.1", False),
        ("gunicorn -b :$PORT main:app", "-b", False),
        ("gunicorn -b 0.0.0.0 main:app", "-b", True),
        ("gunicorn -b :1 -b $HOST:2 main:app", "-b", True),
        ("gunicorn -b :8080 main:app", "-b", False),
        ("gunicorn -b :1 main:app", "$PORT", False),
    ],
)
def test_a_port_that_others_can_reach_is_said(
    folder: Path,
    start: Callable[[], AppProcess],
    entrypoint: str,
    advice: str,
    network: bool,
) -> None:
    """Any other entrypoint listens on PORT, with one line about what that means."""
    make_app(folder, script(), entrypoint=entrypoint)
    process = start()
    assert process.socket_path is None
    assert process.notice is not None
    assert advice in process.notice
    assert ("network" in process.notice) is network


@pytest.mark.parametrize(
    "entrypoint",
    [
        "gunicorn -b :$PORT main:app",
        "gunicorn -b:$PORT main:app",
        "gunicorn -b 0.0.0.0:${PORT} main:app",
        "gunicorn --bind=:$PORT main:app",
        "gunicorn --workers 2 --bind [::]:$PORT main:app",
        'gunicorn --bind ":$PORT" main:app',
        "gunicorn -Rb :$PORT main:app",
        "gunicorn -b :8080 main:app",
        "gunicorn --bind=127.0.0.1:8080 main:app",
        "gunicorn -b tcp://:$PORT main:app",
        "gunicorn -b=0:$PORT main:app",
        """gunicorn '--bi=:'"$PORT" main:app""",
        "env A=b gunicorn main:app",
        "env A=b gunicorn -b :$PORT main:app",
        """sh -c 'gunicorn -b ":$PORT" main:app'""",
        "sh -c 'gunicorn main:app'",
        "python -u -m gunicorn main:app",
    ],
)
def test_gunicorn_listens_on_loopback_only(
    folder: Path, start: Callable[[], AppProcess], entrypoint: str
) -> None:
    """Where it gets a port, the network cannot reach it, as usual as `-b :$PORT` is."""
    make_app(folder, entrypoint=entrypoint)
    process = start()
    assert process.notice is not None

    def listens() -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", process.port)) == 0

    wait_until(listens, "the app's port", PATIENCE)
    _, addresses = listening_tcp_sockets(process.pid)
    assert {*addresses} == {("127.0.0.1", process.port)}


def test_the_entrypoint_is_executed_in_the_apps_folder(
    folder: Path, start: Callable[[], AppProcess]
) -> None:
    """It replaces the shell, leads a process group, and stands in the app's folder."""
    text = """\
    write("facts", (os.getpgrp() == os.getpid(), os.getcwd(), sys.argv[1:]))
    """
    make_app(folder, script(text), entrypoint="python main.py $GAE_SERVICE 'a  b'")
    start()
    assert read(folder / "facts") == str(
        (True, str(folder.resolve()), ["default", "a  b"])
    )


def test_signals_have_their_usual_effect_in_the_app(
    folder: Path, start: Callable[[], AppProcess]
) -> None:
    """The watchdog ignores signals; the app inherits none of that."""
    # Python itself changes SIGPIPE and SIGINT, so sh is asked
    make_app(folder, entrypoint="sh -c 'kill -PIPE $$; echo survived'")
    assert ended(start()) == 128 + signal.SIGPIPE


def test_what_the_app_prints(
    folder: Path, start: Callable[[], AppProcess], capfd: pytest.CaptureFixture[str]
) -> None:
    """It appears on the terminal at once, and its last lines are kept."""
    text = """
    for number in range(1000):
        print("line", number)
    sys.exit("done: \\u00e9")
    """
    make_app(folder, script(text), entrypoint="python main.py")
    process = start()
    assert ended(process) == 1
    shown = capfd.readouterr().err
    assert shown.count("line 7\n") == 1
    assert shown.endswith("line 999\ndone: \u00e9\n")
    tail = process.tail().splitlines()
    assert tail[-2:] == ["line 999", "done: \u00e9"]
    assert len(tail) < 1000


@pytest.mark.parametrize(
    ("text", "status"),
    [("sys.exit(3)", 3), ("os.kill(os.getpid(), signal.SIGKILL)", 128 + 9)],
)
def test_the_exit_status(
    folder: Path, start: Callable[[], AppProcess], text: str, status: int
) -> None:
    """It is the app's own, and 128 and the number for a signal, as in a shell."""
    make_app(folder, script(text), entrypoint="python main.py")
    assert ended(start()) == status


def test_stop_ends_the_app_in_its_own_way(
    folder: Path, start: Callable[[], AppProcess]
) -> None:
    """The app gets SIGTERM and may still do something; its socket is removed."""
    text = """
    signal.signal(signal.SIGTERM, lambda *_: [write("ended", "x"), sys.exit(5)])
    """
    make_app(folder, script(text), entrypoint="python main.py")
    process = start()
    read(folder / "started")
    process.stop()
    process.stop()
    assert ended(process) == 5
    assert (folder / "ended").exists()


def test_what_ignores_sigterm_is_killed(
    folder: Path, start: Callable[[], AppProcess]
) -> None:
    """An app that ignores it, and a process that it started, are gone soon after."""
    text = """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    """
    make_app(folder, script(text), entrypoint="python main.py")
    process = start()
    app = int(read(folder / "started"))
    group = {app} | descendants(app)
    assert len(group) == 2
    process.stop()
    assert ended(process) == 128 + signal.SIGKILL
    wait_for_end(group, 1)


def test_an_app_that_ends_leaves_nothing_behind(
    folder: Path, start: Callable[[], AppProcess]
) -> None:
    """Workers of an app whose first process has died are ended with it."""
    text = """
    child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    write("child", child.pid)
    sys.exit(4)
    """
    make_app(folder, script(text), entrypoint="python main.py")
    process = start()
    assert ended(process) == 4
    wait_for_end({int(read(folder / "child"))}, 1)


def test_the_sockets_folder_is_removed(
    folder: Path, start: Callable[[], AppProcess]
) -> None:
    """Nothing stays among the temporary files."""
    make_app(folder)
    process = start()
    assert process.socket_path is not None
    wait_until(lambda: answers(process), "the app's socket", PATIENCE)
    process.stop()
    ended(process)
    assert not Path(process.socket_path).parent.exists()


def test_the_app_ends_with_a_server_that_is_killed(folder: Path) -> None:
    """A server that gets SIGKILL can do nothing, and yet nothing of it stays."""
    make_app(folder)
    program = """
import pathlib, sys
from gae_devserver.config.app_yaml import load_app_yaml
from gae_devserver.app.process import AppProcess

app = load_app_yaml(pathlib.Path(sys.argv[1]))
process = AppProcess(app, project="p", version="v1", api_port=9, datastore_port=9)
print(process.socket_path, flush=True)
process.wait(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        socket_folder = Path(server.stdout.readline()).parent
        # the watchdog, gunicorn and its worker
        wait_until(lambda: len(descendants(server.pid)) == 3, "a worker", PATIENCE)
        left = descendants(server.pid)
        server.kill()
        server.wait()
        wait_for_end(left, 3)
    wait_until(lambda: not socket_folder.exists(), "the end of its files")


def test_when_exited_is_called_once(
    folder: Path, start: Callable[[], AppProcess]
) -> None:
    """Who asks before the end and who asks after it both hear of it."""
    calls: list[str] = []
    make_app(folder, script(), entrypoint="python main.py")
    process = start()
    process.when_exited(lambda: calls.append("before"))
    assert running({int(read(folder / "started"))})
    assert calls == []
    process.stop()
    ended(process)
    wait_until(lambda: calls == ["before"], "the call", PATIENCE)
    process.when_exited(lambda: calls.append("after"))
    assert calls == ["before", "after"]
