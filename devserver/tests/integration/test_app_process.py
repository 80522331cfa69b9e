"""One process of the app: where it listens, its output, its end."""

import os
import signal
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gae_devserver.app.process import STOP_SECONDS, AppProcess
from gae_devserver.app.python import OWN
from gae_devserver.testing import wait_until
from gae_devserver.testing.processes import descendants, wait_for_end
from tests.helpers.app_folder import HELLO, LAUNCH
from tests.helpers.calls import app_config
from tests.helpers.sockets import listening_tcp_sockets

PATIENCE = 20.0
PYTHON = "python main.py"
GUNICORN = "gunicorn --threads 4 main:app"

# Does what a test wants, says so in a file, and then only waits.
SCRIPT = """\
import os, signal, subprocess, sys

def write(name, text):
    new = name + "." + str(os.getpid())  # two apps may write a file at the same time
    with open(new, "w") as file:
        file.write(str(text))
    os.rename(new, name)

{}
write("started", os.getpid())
while True:
    signal.pause()
"""
START_CHILD = (
    "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])"
)


def script(*lines: str) -> str:
    """Return an app that does these lines and then waits."""
    return SCRIPT.format("\n".join(lines))


def read(path: Path) -> str:
    """Return what a file holds, when it exists."""
    wait_until(path.exists, str(path), PATIENCE)
    return path.read_text()


def ended(process: AppProcess) -> int:
    """Wait for the end of a process and return its exit status."""
    assert process.wait(PATIENCE)
    assert process.exit_status is not None
    return process.exit_status


def wait_for_socket(process: AppProcess) -> Path:
    """Wait until gunicorn takes connections on its socket; return the path."""

    def connects() -> bool:
        path = process.socket_path
        with socket.socket(socket.AF_UNIX) as client:
            return path is not None and client.connect_ex(path) == 0

    wait_until(connects, "the app's socket", PATIENCE)
    assert process.socket_path is not None
    return Path(process.socket_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The app's folder."""
    folder = tmp_path / "app"
    folder.mkdir()
    return folder


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., AppProcess]]:
    """Make an app in `folder` and start it."""
    processes = []

    def start_app(
        main: str = HELLO,
        entrypoint: str | None = GUNICORN,
        stop_seconds: float = STOP_SECONDS,
        label: str = "",
        **app_yaml: object,
    ) -> AppProcess:
        (folder / "main.py").write_text(main)
        config = app_config(folder=folder, entrypoint=entrypoint, **app_yaml)
        process = AppProcess(
            config, LAUNCH, OWN, label=label, stop_seconds=stop_seconds
        )
        processes.append(process)
        return processes[-1]

    yield start_app
    for process in processes:
        process.stop()
    for process in processes:
        assert process.wait(PATIENCE)


@pytest.mark.parametrize(
    "entrypoint",
    [
        GUNICORN,
        None,
        "gunicorn -b :$PORT main:app",
        "env A=b gunicorn -w 2 main:app",
        """sh -c 'gunicorn -b ":$PORT" main:app'""",
        "python -u -m gunicorn --bind=0.0.0.0:8080 main:app",
        "sh start.sh",
    ],
)
def test_gunicorn_listens_on_a_socket_of_this_user(
    folder: Path,
    start: Callable[..., AppProcess],
    monkeypatch: pytest.MonkeyPatch,
    entrypoint: str | None,
) -> None:
    """Gunicorn opens no TCP port, whatever starts it, even if a file names one.

    Nor does it make its control socket in the user's folder. Without an entrypoint,
    gunicorn runs main:app, as on App Engine.
    """
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("HOME", str(folder))
    (folder / "gunicorn.conf.py").write_text(
        "import os\nbind = '127.0.0.1:' + os.environ['PORT']\n"
    )
    (folder / "start.sh").write_text("gunicorn main:app\n")
    process = start(entrypoint=entrypoint)
    path = wait_for_socket(process)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path.parent.stat().st_uid == os.getuid()
    assert process.notice is None
    assert listening_tcp_sockets(process.pid)[1] == []
    control = path.with_name("ctl.sock")
    wait_until(control.exists, str(control), PATIENCE)
    assert not (folder / ".gunicorn").exists()
    process.stop()
    ended(process)
    assert not path.parent.exists()


def test_a_folder_for_temporary_files(
    folder: Path, start: Callable[..., AppProcess]
) -> None:
    """Each process of the app has its own, and may delete everything in it."""
    clear = """
for entry in os.scandir(tempfile.gettempdir()): shutil.rmtree(entry.path)
os.mkdir(os.path.join(tempfile.gettempdir(), "full"))
write(sys.argv[1], tempfile.gettempdir())
"""
    imports = "import shutil, tempfile"
    first = start(script(imports, clear), f"{PYTHON} one")
    one = Path(read(folder / "one"))
    start(script(imports, clear), f"{PYTHON} two")
    two = Path(read(folder / "two"))
    assert one != two
    assert stat.S_IMODE(one.parent.stat().st_mode) == 0o700
    assert (one / "full").exists()
    first.stop()
    ended(first)
    assert not one.parent.exists()
    assert two.exists()


@pytest.mark.parametrize("is_the_shells", [True, False])
def test_gunicorn_cmd_args(
    folder: Path,
    start: Callable[..., AppProcess],
    monkeypatch: pytest.MonkeyPatch,
    is_the_shells: bool,
) -> None:
    """Options of the user are kept, except for addresses."""
    variables = {"GUNICORN_CMD_ARGS": "-Rb :0 --bind=0.0.0.0:0 --pid pid"}
    if is_the_shells:
        monkeypatch.setenv("GUNICORN_CMD_ARGS", variables.popitem()[1])
    process = start(env_variables=variables)
    wait_for_socket(process)
    assert listening_tcp_sockets(process.pid)[1] == []
    read(folder / "pid")


def test_a_socket_in_a_folder_with_a_long_name(
    tmp_path: Path, start: Callable[..., AppProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system limits the path of a socket, so a long TMPDIR is not used."""
    long = tmp_path / ("with a space " + "x" * 90)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    path = wait_for_socket(start())
    assert len(str(path)) < 100
    assert list(long.iterdir()) == []


@pytest.mark.parametrize(
    ("entrypoint", "advice", "network"),
    [
        (PYTHON, "gunicorn", False),
        ("gunicorn -b 0.0.0.0 main:app", "0.0.0.0", True),
        ("gunicorn -b :$PORT -b $HOST:2 main:app", "$HOST:2", True),
        ("gunicorn -b :1 main:app", "$PORT", False),
    ],
)
def test_a_port_that_others_can_reach(
    start: Callable[..., AppProcess], entrypoint: str, advice: str, network: bool
) -> None:
    """Entrypoints that listen on a port get a notice about who can reach it."""
    process = start(script(), entrypoint)
    assert process.notice is not None
    assert advice in process.notice
    assert ("network" in process.notice) is network


def test_gunicorn_on_another_port_is_on_loopback(
    start: Callable[..., AppProcess],
) -> None:
    """A port of gunicorn that gets no requests is not reachable from the network."""
    process = start(entrypoint="gunicorn -b :0 main:app")
    wait_until(lambda: descendants(process.pid), "the app's process", PATIENCE)
    wait_until(
        lambda: listening_tcp_sockets(process.pid)[1], "the app's port", PATIENCE
    )
    _, addresses = listening_tcp_sockets(process.pid)
    assert {host for host, _ in addresses} == {"127.0.0.1"}


def test_the_entrypoint_is_executed_in_the_apps_folder(
    folder: Path, start: Callable[..., AppProcess]
) -> None:
    """The app replaces the shell, leads a process group, and runs in its own folder."""
    facts = "write('facts', (os.getpgrp() == os.getpid(), os.getcwd(), sys.argv[1:]))"
    start(script(facts), f"{PYTHON} $GAE_SERVICE 'a  b'")
    expected = (True, str(folder.resolve()), ["default", "a  b"])
    assert read(folder / "facts") == str(expected)


def test_what_the_app_prints(
    start: Callable[..., AppProcess], capfd: pytest.CaptureFixture[str]
) -> None:
    """The app's output is on the terminal at once, and the last lines are kept."""
    print_lines = "for number in range(1000): print('line', number)"
    process = start(script(print_lines, r"sys.exit('done: \u00e9')"), PYTHON)
    assert ended(process) == 1
    shown = capfd.readouterr().err
    assert shown.count("line 7\n") == 1
    assert shown.endswith("line 999\ndone: \u00e9\n")
    tail = process.tail().splitlines()
    assert tail[-2:] == ["line 999", "done: \u00e9"]
    assert len(tail) < 1000


@pytest.mark.parametrize("label", ["", "[worker] "])
def test_nasty_output(
    folder: Path,
    start: Callable[..., AppProcess],
    capfdbinary: pytest.CaptureFixture[bytes],
    label: str,
) -> None:
    """Every byte of the app's output is on the terminal, and the label once a line."""
    nasty = b" a\nE: " + b"\xff\0" * 2**20 + b"\nTraceback\n  File\nE: b\n" * 9999
    (folder / "nasty").write_bytes(nasty)
    process = start(entrypoint="cat nasty", label=label)
    process.log_advice()
    ended(process)
    lines = nasty.splitlines(keepends=True)
    shown = b"".join(label.encode() + line for line in lines)
    assert capfdbinary.readouterr().err == shown


@pytest.mark.parametrize(
    ("text", "entrypoint", "status"),
    [
        ("sys.exit(3)", PYTHON, 3),
        ("os.kill(os.getpid(), signal.SIGKILL)", PYTHON, 128 + 9),
        # the watchdog handles signals, but the app gets the defaults; Python itself
        # would change SIGPIPE
        ("", "sh -c 'kill -PIPE $$; echo survived'", 128 + signal.SIGPIPE),
    ],
)
def test_the_exit_status(
    start: Callable[..., AppProcess], text: str, entrypoint: str, status: int
) -> None:
    """The exit status is the app's, or 128 plus a signal's number, as in a shell."""
    assert ended(start(script(text), entrypoint)) == status


def test_stop_ends_the_app_in_its_own_way(
    folder: Path, start: Callable[..., AppProcess]
) -> None:
    """The app gets SIGTERM and may clean up; the functions for its end are called."""
    calls: list[str] = []
    end = "lambda *_: [write('ended', 'x'), sys.exit(5)]"
    process = start(script(f"signal.signal(signal.SIGTERM, {end})"), PYTHON)
    process.when_exited(lambda: calls.append("before"))
    read(folder / "started")
    assert calls == []
    process.stop()
    process.stop()
    assert ended(process) == 5
    assert (folder / "ended").exists()
    wait_until(lambda: calls == ["before"], "the call", PATIENCE)
    process.when_exited(lambda: calls.append("after"))
    assert calls == ["before", "after"]


def test_an_app_that_ignores_sigterm_is_killed(
    folder: Path, start: Callable[..., AppProcess]
) -> None:
    """The app and its children are killed after the time limit."""
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    process = start(script(ignore, START_CHILD), PYTHON, stop_seconds=0.1)
    app = int(read(folder / "started"))
    group = {app} | descendants(app)
    assert len(group) == 2
    process.stop()
    assert ended(process) == 128 + signal.SIGKILL
    wait_for_end(group, PATIENCE)


def test_an_app_that_ends_leaves_nothing_behind(
    folder: Path, start: Callable[..., AppProcess]
) -> None:
    """Workers of an app whose first process has died are ended with it."""
    process = start(
        script(START_CHILD, "write('child', child.pid)", "sys.exit(4)"), PYTHON
    )
    assert ended(process) == 4
    wait_for_end({int(read(folder / "child"))}, PATIENCE)
