"""noxfile.py sets up nox: with an old Python, without a network, interrupted.

Every test runs the real script in a copy of this repository. Setting up nox needs the
package index.
"""

import ast
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest
from gae_devserver.testing import wait_until

from tests.commands.clone import Clone
from tests.commands.running import MINUTES, STOP_SECONDS, Run
from tests.servers.staging import REPOSITORY

SET_UP = "noxfile.py: setting up nox in "

OFFLINE = {
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_INDEX_URL": "http://127.0.0.1:9/simple",  # nothing listens on the discard port
}
"""Variables that keep pip from every package index."""


def other_python(version: str) -> str:
    """Return an installed Python of that version, or skip the test."""
    found = shutil.which(f"python{version}")
    # pyenv has commands for versions that it does not run
    try:
        subprocess.run([found or "", "-c", ""], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"Python {version} is not installed")
    assert found
    return found


# --- the wrong Python -----------------------------------------------------------------


def test_parses_on_python_3_7() -> None:
    """Python 3.7 can parse the file; this test does not need Python 3.7."""
    source = (REPOSITORY / "noxfile.py").read_text()

    ast.parse(source, feature_version=(3, 7))


@pytest.mark.parametrize("version", ["3.7", "3.8", "3.9", "3.10"])
def test_old_python_gets_one_line(version: str, clone: Clone) -> None:
    """A Python that is too old prints which one to install, and does nothing."""
    result = Clone(clone.folder, other_python(version)).run("-s", "serve", "--", "x")

    assert result.returncode == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert f"this is Python {version};" in line
    assert "3.11 to 3.14" in line
    assert not (clone.folder / ".nox").exists()


@pytest.mark.parametrize("version", ["2.7", "3.6"])
def test_python_that_cannot_parse_it_shows_the_advice(
    version: str, clone: Clone
) -> None:
    """The line in which a very old Python finds its syntax error says what to do."""
    result = Clone(clone.folder, other_python(version)).run()

    assert result.returncode == 1
    assert "# SyntaxError? Use Python 3.11 or newer." in result.stderr


@pytest.mark.parametrize("module", ["ensurepip", "venv"])
def test_missing_module_names_the_package(
    module: str, clone: Clone, tmp_path: pathlib.Path
) -> None:
    """Debian ships venv separately: one line names the package to install."""
    hide = f"import sys\nsys.modules[{module!r}] = None\n"
    (tmp_path / "sitecustomize.py").write_text(hide)

    result = clone.run("--list", PYTHONPATH=str(tmp_path))

    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert f" {module}" in line
    assert line.endswith("apt install python{}.{}-venv".format(*sys.version_info))
    assert not clone.environments


# --- setting up nox -------------------------------------------------------------------


def test_first_run_sets_up_nox(first_run: tuple[Clone, Run]) -> None:
    """The first run says that it sets up nox, hides pip's output, and runs nox."""
    clone, result = first_run

    assert result.returncode == 0, result.stderr
    assert result.stderr == f"{SET_UP}{clone.folder / '.nox'} (once)\n"
    assert "serve -> Run an app on the dev server" in result.stdout
    assert len(clone.environments) == 1
    assert not clone.unfinished


def test_second_run_installs_nothing(used_clone: Clone) -> None:
    """A second run uses the environment as it is, without the network."""
    (made,) = used_clone.environments

    result = used_clone.run("--list", **OFFLINE)

    assert result.returncode == 0
    assert result.stderr == ""
    assert used_clone.environments == [made]


def test_own_nox_is_used(first_run: tuple[Clone, Run], clone: Clone) -> None:
    """A Python that has nox sets up no other."""
    (made,) = first_run[0].environments

    result = Clone(clone.folder, made / "bin" / "python").run("--list")

    assert result.returncode == 0
    assert result.stderr == ""
    assert not clone.environments


def wait_for_step(clone: Clone, step: str) -> None:
    """Wait until the command line of a process of the set-up has a text."""
    wait_until(lambda: any(step in x for x in clone.processes), step, MINUTES)


def test_killed_set_up_is_done_again(clone: Clone, tmp_path: pathlib.Path) -> None:
    """A run uses nothing that a killed one made, even while the latter's pip runs."""
    with clone.start("--list", work=tmp_path) as killed:
        wait_for_step(clone, "pip install")
        killed.process.kill()
        assert killed.process.wait() == -signal.SIGKILL
    assert not clone.environments

    result = clone.run("--list")

    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith(SET_UP)
    assert len(clone.environments) == 1
    wait_until(lambda: not clone.processes, "the first pip has ended", MINUTES)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ended_set_up_leaves_nothing(
    sign: signal.Signals, clone: Clone, tmp_path: pathlib.Path
) -> None:
    """A signal to noxfile.py alone ends all its processes, and leaves no files."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup makes it ignored
    with clone.start("--list", work=tmp_path) as ended:
        signal.signal(signal.SIGHUP, before)
        wait_for_step(clone, "-m ensurepip")

        ended.process.send_signal(sign)

        assert ended.process.wait(STOP_SECONDS) == 130
        wait_until(lambda: not clone.processes, "no process is left", STOP_SECONDS)
    assert not clone.unfinished
    assert not clone.environments


def test_damaged_environment_is_made_again(used_clone: Clone) -> None:
    """An environment that lost a part is not used."""
    (made,) = used_clone.environments
    (lost,) = made.glob("lib/*/site-packages/nox-*.dist-info")
    shutil.rmtree(lost)

    result = used_clone.run("--list")

    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith(SET_UP)
    assert list(made.glob("lib/*/site-packages/nox-*.dist-info"))


def test_two_set_ups_at_once(clone: Clone, tmp_path: pathlib.Path) -> None:
    """Two first runs at once both succeed, and leave one environment."""
    with (
        clone.start("--list", work=tmp_path) as first,
        clone.start("--list", work=clone.folder) as second,
    ):
        for run in (first, second):
            assert run.process.wait(MINUTES) == 0, run.log
            assert run.log.startswith(SET_UP)
    assert len(clone.environments) == 1
    assert not clone.unfinished


def test_leftovers_of_killed_set_ups_are_deleted(used_clone: Clone) -> None:
    """Leftovers older than an hour are deleted; another run may use newer ones."""
    old, new = (used_clone.folder / ".nox" / f"unfinished-{x}" for x in ("old", "new"))
    old.mkdir()
    new.mkdir()
    two_hours_ago = new.stat().st_mtime - 7200
    os.utime(old, (two_hours_ago, two_hours_ago))

    used_clone.run("--list")

    assert used_clone.unfinished == [new]


def test_other_python_gets_its_own_environment(used_clone: Clone) -> None:
    """Another interpreter does not use the environment of the first."""
    other = "3.12" if sys.version_info[:2] != (3, 12) else "3.13"

    result = Clone(used_clone.folder, other_python(other)).run("--list")

    assert result.returncode == 0, result.stderr
    assert len(used_clone.environments) == 2


def test_no_network_is_one_line(clone: Clone) -> None:
    """Without a network the user reads what failed, not five retries of pip."""
    result = clone.run("--list", **OFFLINE)

    announced, error = result.stderr.splitlines()
    assert result.returncode == 1
    assert announced.startswith(SET_UP)
    assert error.startswith("noxfile.py: cannot download nox: ")
    assert not clone.environments
    assert not clone.unfinished


@pytest.mark.parametrize(
    ("in_the_way", "command"),
    [(".nox", "--list"), (".nox/{}/lint.lock", "-s lint --install-only")],
    ids=["set-up", "session"],
)
def test_folder_that_is_not_writable(
    in_the_way: str, command: str, used_clone: Clone
) -> None:
    """One line names the folder, when nox is set up and when a session is."""
    path = used_clone.folder / in_the_way.format(sys.implementation.cache_tag)
    # root may write anywhere, but not a file where a folder is, and the other way round
    if path.is_dir():
        shutil.rmtree(path)
        path.touch()
    else:
        path.mkdir(parents=True)

    result = used_clone.run(*command.split())

    (line,) = (x for x in result.stderr.splitlines() if "writable" in x)
    assert result.returncode == 1
    assert "clone/.nox" in line
    assert "Traceback" not in result.stderr
