"""noxfile.py as a new user meets it: no nox, an old Python, an interrupted start.

Every test runs the real script with a real interpreter, in a copy of this repository.
Setting up nox needs the package index.
"""

import ast
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from typing import IO

import pytest
from gae_devserver.testing import wait_until
from packaging.utils import canonicalize_name

from tests.commands import running
from tests.commands.running import MINUTES, Run, environment
from tests.servers.staging import REPOSITORY

SET_UP = "noxfile.py: setting up nox in "
LOCK = "requirements-lock.txt"

STOP_SECONDS = 10.0
"""What the end may take on a loaded machine; on another it is within three seconds."""


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """An interpreter with no packages at all, nox neither."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True
    )
    return folder / "bin" / "python"


@pytest.fixture(scope="session")
def set_up(
    python: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[pathlib.Path, Run]:
    """A clone in which `noxfile.py --list` ran once, and what that printed."""
    clone = make_clone(tmp_path_factory.mktemp("set_up"))
    return clone, run(python, clone, "--list")


@pytest.fixture
def clone(tmp_path: pathlib.Path) -> pathlib.Path:
    """A clone of this repository, in which no command has run."""
    return make_clone(tmp_path)


@pytest.fixture
def used_clone(
    set_up: tuple[pathlib.Path, Run], tmp_path: pathlib.Path
) -> pathlib.Path:
    """A clone in which nox is set up already."""
    copy = tmp_path / "clone"
    shutil.copytree(set_up[0], copy, symlinks=True)
    return copy


def make_clone(folder: pathlib.Path) -> pathlib.Path:
    """Copy what a clone of the repository would hold."""
    clone = folder / "clone"
    kept = shutil.ignore_patterns(".*", "__pycache__", "docs")
    shutil.copytree(REPOSITORY, clone, symlinks=True, ignore=kept)
    return clone


def command(python: pathlib.Path | str, *arguments: str) -> list[str]:
    """Return the command line that a user types."""
    return [str(python), "noxfile.py", *arguments]


def run(
    python: pathlib.Path | str, clone: pathlib.Path, *arguments: str, **variables: str
) -> Run:
    """Run noxfile.py in a clone until it ends."""
    return running.run(*command(python, *arguments), folder=clone, **variables)


def start(
    python: pathlib.Path | str,
    clone: pathlib.Path,
    *arguments: str,
    output: int | IO[str] = subprocess.PIPE,
) -> subprocess.Popen[str]:
    """Start noxfile.py in a clone, in a process group of its own."""
    return subprocess.Popen(
        command(python, *arguments),
        cwd=clone,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # nohup, around the tests, would have it ignored
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # noqa: PLW1509
    )


def kill_group(process: subprocess.Popen[str]) -> None:
    """Kill whatever is left of what start() started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def other_python(version: str) -> str:
    """Return an installed Python of that version, or skip the test."""
    found = shutil.which(f"python{version}")
    # pyenv has commands for versions that it will not run
    try:
        subprocess.run([found or "", "-c", ""], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"Python {version} is not installed")
    assert found
    return found


def environments(clone: pathlib.Path) -> list[pathlib.Path]:
    """Return the environments that hold nox."""
    return list(clone.glob(".nox/bootstrap-*"))


def unfinished(clone: pathlib.Path) -> list[pathlib.Path]:
    """Return what interrupted runs have left."""
    return list(clone.glob(".nox/unfinished-*"))


# --- the wrong Python -----------------------------------------------------------------


def test_parses_on_python_3_7() -> None:
    """An old Python can read the file, or it could not give its advice."""
    source = (REPOSITORY / "noxfile.py").read_text()

    ast.parse(source, feature_version=(3, 7))


@pytest.mark.parametrize("version", ["3.7", "3.8", "3.9", "3.10"])
def test_old_python_gets_one_line(version: str, clone: pathlib.Path) -> None:
    """A Python that is too old says what to install, and does nothing."""
    result = run(other_python(version), clone, "-s", "serve", "--", "flask")

    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == (
        f"noxfile.py: this is Python {version}; install Python 3.11, 3.12 or 3.13 and "
        "use that, for example: python3.13 noxfile.py\n"
    )
    assert not (clone / ".nox").exists()


@pytest.mark.parametrize("version", ["2.7", "3.6"])
def test_python_that_cannot_parse_it_shows_the_advice(
    version: str, clone: pathlib.Path
) -> None:
    """The line in which a very old Python finds its syntax error says what to do."""
    result = run(other_python(version), clone)

    assert result.returncode == 1
    assert "# SyntaxError? Use Python 3.11 or newer." in result.stderr


@pytest.mark.parametrize("module", ["ensurepip", "venv"])
def test_missing_ensurepip_names_the_package(
    module: str, python: pathlib.Path, clone: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Where Debian split venv off, one line names the package to install."""
    hide = f"import sys\nsys.modules[{module!r}] = None\n"
    (tmp_path / "sitecustomize.py").write_text(hide)

    result = run(python, clone, "--list", PYTHONPATH=str(tmp_path))

    package = "python{}.{}-venv".format(*sys.version_info)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("noxfile.py: ")
    assert f" {module}" in line
    assert line.endswith(f"sudo apt install {package}")
    assert not environments(clone)


# --- setting up nox -------------------------------------------------------------------


def test_first_run_sets_up_nox(set_up: tuple[pathlib.Path, Run]) -> None:
    """The first run says that it sets up nox, hides pip's output, and runs nox."""
    clone, result = set_up

    assert result.returncode == 0, result.stderr
    assert result.stderr == f"{SET_UP}{clone / '.nox'} (once)\n"
    assert "serve -> Run an app on the dev server" in result.stdout
    assert len(environments(clone)) == 1
    assert not unfinished(clone)


def test_second_run_installs_nothing(
    python: pathlib.Path, used_clone: pathlib.Path
) -> None:
    """A second run uses the environment as it is, without the network."""
    (made,) = environments(used_clone)
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*.dist-info")}

    result = run(python, used_clone, "--list", **offline())

    assert result.returncode == 0
    assert result.stderr == ""
    assert environments(used_clone) == [made]
    assert before == {p: p.stat().st_mtime_ns for p in made.rglob("*.dist-info")}


def test_own_nox_is_used(set_up: tuple[pathlib.Path, Run], clone: pathlib.Path) -> None:
    """A Python that has nox sets up no other."""
    (made,) = environments(set_up[0])

    result = run(made / "bin" / "python", clone, "--list")

    assert result.returncode == 0
    assert result.stderr == ""
    assert not environments(clone)


def test_killed_setup_is_done_again(python: pathlib.Path, clone: pathlib.Path) -> None:
    """What a killed set-up made is not used, not even while its pip still works on."""
    killed = start(python, clone, "--list")
    try:
        wait_until(
            lambda: list(clone.glob(".nox/*/lib/*/site-packages/uv")),
            "pip has begun to install",
            MINUTES,
        )
        killed.kill()
        assert killed.wait() == -signal.SIGKILL
        assert not environments(clone)

        result = run(python, clone, "--list")
    finally:
        kill_group(killed)
        wait_until(lambda: not processes(clone), "the first pip has ended", MINUTES)

    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith(SET_UP)
    assert len(environments(clone)) == 1


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ended_setup_leaves_nothing(
    sign: signal.Signals, python: pathlib.Path, clone: pathlib.Path
) -> None:
    """A signal to noxfile.py alone ends all that it has started, and tidies up."""
    ended = start(python, clone, "--list")
    try:
        wait_until(
            lambda: any("-m ensurepip" in line for line in processes(clone)),
            "venv has started ensurepip",
            MINUTES,
        )

        ended.send_signal(sign)

        assert ended.wait(STOP_SECONDS) == 130
        wait_until(lambda: not processes(clone), "no process is left", STOP_SECONDS)
    finally:
        kill_group(ended)

    assert not unfinished(clone)
    assert not environments(clone)


def test_damaged_environment_is_made_again(
    python: pathlib.Path, used_clone: pathlib.Path
) -> None:
    """An environment that lost a part is not trusted either."""
    (made,) = environments(used_clone)
    (lost,) = made.glob("lib/*/site-packages/nox-*.dist-info")
    shutil.rmtree(lost)

    result = run(python, used_clone, "--list")

    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith(SET_UP)
    assert list(made.glob("lib/*/site-packages/nox-*.dist-info"))


def test_two_setups_at_once(python: pathlib.Path, clone: pathlib.Path) -> None:
    """Two first runs at once both succeed and leave one environment."""
    both = [start(python, clone, "--list") for _ in range(2)]
    outputs = [process.communicate(timeout=MINUTES)[0] for process in both]

    assert [process.returncode for process in both] == [0, 0], outputs
    assert all(output.startswith(SET_UP) for output in outputs)
    assert len(environments(clone)) == 1
    assert not unfinished(clone)


def test_leftovers_of_killed_setups_go(
    python: pathlib.Path, used_clone: pathlib.Path
) -> None:
    """What a killed set-up left is deleted when it cannot be at work any more."""
    old, new = (used_clone / ".nox" / f"unfinished-{age}" for age in ("old", "new"))
    old.mkdir()
    new.mkdir()
    two_hours_ago = new.stat().st_mtime - 7200
    os.utime(old, (two_hours_ago, two_hours_ago))

    run(python, used_clone, "--list")

    assert unfinished(used_clone) == [new]


def test_other_python_gets_its_own_environment(used_clone: pathlib.Path) -> None:
    """Another interpreter does not use the environment of the first."""
    other = "3.12" if sys.version_info[:2] != (3, 12) else "3.13"

    result = run(other_python(other), used_clone, "--list")

    assert result.returncode == 0, result.stderr
    assert len(environments(used_clone)) == 2


def test_no_network_is_one_line(python: pathlib.Path, clone: pathlib.Path) -> None:
    """Without a network the user reads what failed, not five retries of pip."""
    result = run(python, clone, "--list", **offline())

    announced, error = result.stderr.splitlines()
    assert result.returncode == 1
    assert announced.startswith(SET_UP)
    assert error.startswith("noxfile.py: cannot download nox: ")
    assert not environments(clone)
    assert not unfinished(clone)


def test_setup_where_nothing_can_be_written(
    python: pathlib.Path, clone: pathlib.Path
) -> None:
    """One line says which folder has to be writable."""
    (clone / ".nox").write_text("in the way: root may write anywhere")
    check_says_writable(run(python, clone, "--list"))


def test_session_where_nothing_can_be_written(
    python: pathlib.Path, used_clone: pathlib.Path
) -> None:
    """So does one in a clone where nox is set up already."""
    locks = used_clone / ".nox" / str(sys.implementation.cache_tag)
    (locks / "lint.lock").mkdir(parents=True)
    check_says_writable(run(python, used_clone, "-s", "lint", "--install-only"))


def check_says_writable(result: Run) -> None:
    """See that a run has failed with the line."""
    (line,) = (x for x in result.stderr.splitlines() if "writable" in x)
    assert result.returncode == 1
    assert "clone/.nox" in line
    assert "Traceback" not in result.stderr


def offline() -> dict[str, str]:
    """Return the variables that keep pip from every package index."""
    nowhere = "http://127.0.0.1:9"  # the discard port; nothing answers
    return {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": f"{nowhere}/simple"}


# --- the sessions ---------------------------------------------------------------------


def test_unknown_session(python: pathlib.Path, used_clone: pathlib.Path) -> None:
    """The message and status of nox come through."""
    result = run(python, used_clone, "-s", "flusk")

    assert result.returncode == 3
    assert "Sessions not found: flusk" in result.stderr


@pytest.mark.parametrize("arguments", [[], ["--", "flusk"]])
def test_serve_needs_an_app(
    arguments: list[str], python: pathlib.Path, used_clone: pathlib.Path
) -> None:
    """Without the name of an app, serve names the three."""
    result = run(python, used_clone, "-s", "serve", *arguments)

    assert result.returncode == 1
    assert "flask, django or plain_wsgi" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["serve", "flask"],
        ["serve", "--", "flask"],
        ["-s", "serve", "flask"],
        ["-s", "serve", "--port", "0", "--", "flask"],
        ["-s", "serve", "--port=0", "--", "flask"],
        ["-s", "copy", "flask", "../my_app"],
        ["-s", "deploy", "flask", "--project", "my-project"],
    ],
    ids=" ".join,
)
def test_forgotten_dashes(arguments: list[str]) -> None:
    """A line shows the command as it should be; no other session runs instead."""
    result = running.nox(*arguments)

    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    (session,) = {*arguments} & {"serve", "copy", "deploy"}
    assert f" python3 noxfile.py -s {session} -- flask" in line


@pytest.mark.parametrize("arguments", [["flask"], ["--", "django", "--port", "0"]])
def test_forgotten_session(arguments: list[str]) -> None:
    """An app alone starts no tests: a line shows how to serve it."""
    result = running.nox(*arguments)

    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "python3 noxfile.py -s serve -- flask" in line


def test_help_of_the_server() -> None:
    """What serve takes is its own options, and what the server says of itself."""
    embedded = running.nox("-s", "serve", "--", "--help")
    google = running.nox("-s", "serve", "--", "--server", "dev_appserver", "-h")

    for result in (embedded, google):
        assert result.returncode == 0
        assert "--server {embedded,dev_appserver}" in result.stdout
    assert "--task-deadline SECONDS" in embedded.stdout
    assert "--task-deadline" not in google.stdout
    assert "--port PORT" in google.stdout


def test_storage_is_where_the_user_is(tmp_path: pathlib.Path) -> None:
    """The folder is meant from there, as the app's is."""
    (tmp_path / "store").write_text("no folder")

    result = running.nox(
        *("-s", "serve", "--", "plain_wsgi", "--port", "0", "--storage", "store"),
        folder=tmp_path,
    )

    assert result.returncode == 1
    assert str(tmp_path / "store") in result.stderr


WINDOWS = """
import sys
import nox.__main__
import filelock, nox.virtualenv  # they look at the system when they are imported
sys.platform = "win32"
sys.argv[0] = "nox"
nox.__main__.main()
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["serve", "--", "flask"],
        ["serve", "--", "flask", "--server", "dev_appserver"],
        ["flask(embedded)"],
        ["flask(dev_appserver_cloud)"],
        ["unit"],
        ["e2e", "--", "--base-url", "https://example.com"],
    ],
    ids=" ".join,
)
def test_windows(arguments: list[str]) -> None:
    """There, what needs gunicorn or a POSIX system ends in a line, not a traceback."""
    noxfile = REPOSITORY / "noxfile.py"
    result = running.run(
        *(sys.executable, "-c", WINDOWS, "-f", str(noxfile)),
        *("--no-venv", "-s", *arguments),
    )

    assert "On Windows, use WSL" in result.stderr
    assert "Traceback" not in result.stderr
    skipped = "dev_appserver_cloud" in arguments[0]
    assert result.returncode == (0 if skipped else 1)


def test_copy_on_windows(tmp_path: pathlib.Path) -> None:
    """An app can be copied there."""
    noxfile = REPOSITORY / "noxfile.py"
    result = running.run(
        *(sys.executable, "-c", WINDOWS, "-f", noxfile, "--no-venv"),
        *("-s", "copy", "--", "flask", tmp_path / "my_app"),
    )

    assert result.returncode == 0, result.stderr
    assert (tmp_path / "my_app" / "shared" / "counter.py").is_file()


def test_session_installs_once(python: pathlib.Path, used_clone: pathlib.Path) -> None:
    """A session's second run installs nothing; after an interruption one does.

    So does one after a change of the lock.
    """
    lint = ["-s", "lint", "--install-only"]
    first = run(python, used_clone, *lint)
    second = run(python, used_clone, *lint)
    (finished,) = used_clone.glob(".nox/*/lint/installed-by-noxfile.txt")
    finished.unlink()  # it is written last
    third = run(python, used_clone, *lint)
    with (used_clone / LOCK).open("a") as lock:
        lock.write("# changed\n")
    fourth = run(python, used_clone, *lint)

    runs = (first, second, third, fourth)
    assert [r.returncode for r in runs] == [0] * 4, first.stderr
    told = ["installing lint" in r.stderr for r in runs]
    assert told == [True, False, True, True]
    assert "Creating virtual environment" in third.stderr


@pytest.mark.parametrize("backend", ["uv", "virtualenv"])
@pytest.mark.parametrize(
    ("package", "changed"),
    [
        ("ruff", lambda entry: re.sub("(?<=sha256:)....", "0000", entry)),
        # what import-linter needs
        ("grimp", lambda entry: re.sub("(?<=sha256:)....", "0000", entry)),
        ("grimp", lambda entry: ""),
    ],
    ids=["hash", "hash of a dependency", "no dependency"],
)
def test_package_that_is_not_the_locked_one_is_refused(
    package: str,
    changed: Callable[[str], str],
    backend: str,
    python: pathlib.Path,
    used_clone: pathlib.Path,
) -> None:
    """What is not the file that was locked is not installed, by uv nor by pip."""
    lint = ["-db", backend, "-s", "lint", "--install-only"]
    lock = used_clone / LOCK
    entry = re.compile(rf"^{package}==.*?(?=^\w)", re.MULTILINE | re.DOTALL)
    lock.write_text(entry.sub(lambda found: changed(found[0]), lock.read_text()))

    result = run(python, used_clone, *lint)

    assert result.returncode == 1
    assert f"({backend})" in result.stderr
    assert re.search("(?i)hash", result.stderr)
    assert not list(used_clone.glob(f".nox/*/lint/lib/*/site-packages/{package}*"))
    assert not list(used_clone.glob(".nox/*/lint/installed-by-noxfile.txt"))


def test_session_installs_what_is_locked(
    python: pathlib.Path, clone_to_serve: pathlib.Path
) -> None:
    """Each package that an app or the server needs comes in the release of the lock."""
    serve = ["-s", "serve", "--install-only", "--", "flask"]

    result = run(python, clone_to_serve, *serve)

    assert result.returncode == 0, result.stderr
    locked = re.findall(r"(?m)^(\S+)==(\S+)", (clone_to_serve / LOCK).read_text())
    installed = packages(clone_to_serve, "serve")
    assert {"django", "aiohttp", "grpcio-tools"} <= set(installed)
    assert installed.pop("gae-devserver")
    assert set(installed.items()) <= set(locked)
    # compiled already: Python would show the SDK's warnings to whoever serves first
    (sdk,) = clone_to_serve.glob(".nox/*/serve/lib/*/*/google/appengine")
    assert list(sdk.glob("ext/deferred/__pycache__/deferred.*.pyc"))


def test_changed_dev_server_is_installed_again(
    python: pathlib.Path, clone_to_serve: pathlib.Path
) -> None:
    """What its pyproject.toml says, such as a command, takes effect at the next run."""
    serve = ["-s", "serve", "--install-only", "--", "flask"]
    project = clone_to_serve / "devserver" / "pyproject.toml"
    first = run(python, clone_to_serve, *serve)
    text = project.read_text()
    project.write_text(text.replace("gae-devserver =", "renamed-devserver ="))
    second = run(python, clone_to_serve, *serve)
    (renamed,) = clone_to_serve.glob(".nox/*/serve/bin/*-devserver")
    project.write_text(text)

    assert [first.returncode, second.returncode] == [0, 0], second.stderr
    assert "installing" in second.stderr
    assert renamed.name == "renamed-devserver"


def test_changed_pin_gets_into_the_lock(
    python: pathlib.Path, used_clone: pathlib.Path
) -> None:
    """What is not locked is refused; `nox -s lock` takes it over, and nothing else."""
    before = (used_clone / LOCK).read_text()
    pyproject = used_clone / "pyproject.toml"
    pins = re.sub('ruff==[^"]+', "ruff==0.17.5", pyproject.read_text())
    pyproject.write_text(pins)

    refused = run(python, used_clone, "-s", "lint", "--install-only")
    locked = run(python, used_clone, "-s", "lock")
    installed = run(python, used_clone, "-s", "lint", "--install-only")

    assert refused.returncode == 1
    assert "requirements-lock.txt has no ruff==0.17.5" in refused.stderr
    assert "noxfile.py -s lock" in refused.stderr
    assert [locked.returncode, installed.returncode] == [0, 0], installed.stderr
    assert packages(used_clone, "lint")["ruff"] == "0.17.5"
    after = (used_clone / LOCK).read_text()
    name = re.compile(r"(?m)^[^ #\n=]+")
    assert "\nruff==0.17.5 \\\n    --hash=sha256:" in after
    assert name.findall(after) == name.findall(before)
    assert "://" not in after


def test_serve_installs_what_another_app_needs(
    python: pathlib.Path, used_clone: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """The app of a folder gets its own requirements, in its own environment, once."""
    app = tmp_path / "my_app"
    app.mkdir()
    (app / "app.yaml").write_text("runtime: python313\n")
    # another release than the one that is locked for the apps here
    (app / "requirements.txt").write_text("itsdangerous==2.1.2\n")
    serve = ["-s", "serve", "--install-only", "--", str(app)]

    first = run(python, used_clone, *serve)
    second = run(python, used_clone, *serve)

    assert [first.returncode, second.returncode] == [0, 0], first.stderr
    assert f"installing {app / 'requirements.txt'}, devserver\n" in first.stderr
    assert "installing" not in second.stderr
    installed = packages(used_clone, "serve-*")
    assert installed["itsdangerous"] == "2.1.2"
    assert "aiohttp" in installed
    assert "flask" not in installed


def packages(clone: pathlib.Path, environment: str) -> dict[str, str]:
    """Return the names and versions of what is installed in an environment of nox."""
    (folder,) = clone.glob(f".nox/*/{environment}/lib/*/site-packages")
    found = metadata.distributions(path=[str(folder)])
    return {canonicalize_name(x.name): x.version for x in found}


@pytest.fixture(scope="session")
def clone_to_serve(
    set_up: tuple[pathlib.Path, Run], tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    """A clone in which nox is set up, and what serve needs is kept between tests."""
    copy = tmp_path_factory.mktemp("serve") / "clone"
    shutil.copytree(set_up[0], copy, symlinks=True)
    return copy


@pytest.mark.parametrize(
    ("whom", "sign", "status"),
    [
        ("group", signal.SIGINT, 0),
        ("outermost", signal.SIGINT, 0),
        ("outermost", signal.SIGTERM, 0),
        ("outermost", signal.SIGKILL, -signal.SIGKILL),
    ],
    ids=["ctrl-c", "int", "term", "kill"],
)
def test_serve_ends(
    whom: str,
    sign: signal.Signals,
    status: int,
    python: pathlib.Path,
    clone_to_serve: pathlib.Path,
    tmp_path: pathlib.Path,
) -> None:
    """Ctrl-C, SIGTERM and SIGKILL end the server and the app, whoever gets them."""
    log = tmp_path / "log"
    with log.open("w") as output:
        arguments = ["-s", "serve", "--", "plain_wsgi", "--port", "0"]
        serving = start(python, clone_to_serve, *arguments, output=output)
    try:
        wait_until(
            lambda: "Press Ctrl-C" in log.read_text() or serving.poll() is not None,
            "the server is ready",
            MINUTES,
        )
        assert serving.poll() is None, log.read_text()
        if whom == "group":
            os.killpg(serving.pid, sign)
        else:
            serving.send_signal(sign)

        wait_until(
            lambda: serving.poll() is not None and not processes(clone_to_serve),
            "no process is left",
            STOP_SECONDS,
        )
    finally:
        kill_group(serving)

    assert serving.returncode == status, log.read_text()
    assert "Traceback" not in log.read_text()


def processes(clone: pathlib.Path) -> list[str]:
    """Return the command lines of all processes that run from a clone."""
    # -ww: with no terminal, ps may cut lines off after 80 characters
    listing = subprocess.run(
        ["ps", "-A", "-ww", "-o", "stat=,args="],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = listing.stdout.splitlines()
    return [x for x in lines if f"{clone}/" in x and not x.startswith("Z")]
