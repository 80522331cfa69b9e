"""The app runs in an environment that the server makes from its requirements.txt."""

import functools
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gae_devserver.app.python import OWN
from gae_devserver.environments import interpreters
from gae_devserver.environments.cache import Cache
from gae_devserver.environments.installer import InstallError, find_uv
from gae_devserver.testing import wait_until
from gae_devserver.testing.processes import descendants, wait_for_end
from tests.helpers.app_folder import RUNTIME, make_app
from tests.helpers.caches import own_cache
from tests.helpers.command import MODULE, PATIENCE, Running, edit, fetch

# Answers with its Python, and with the releases of packages or "-".
TELLING = """\
import importlib.metadata
import sys

def release(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "-"

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    version = "{}.{}".format(*sys.version_info)
    return [" ".join([version, release("six"), release("aiohttp")]).encode()]
"""
INSTALLING = "installing .*requirements.txt"


@pytest.fixture
def listing(folder: Path) -> Path:
    """An app without an entrypoint that lists one package."""
    make_app(folder, TELLING)
    (folder / "app.yaml").write_text(f"runtime: {RUNTIME}\n")
    (folder / "requirements.txt").write_text("six==1.16.0\n")
    return folder


@pytest.fixture
def start_own(
    listing: Path, tmp_path: Path, start: Callable[..., Running]
) -> Callable[..., Running]:
    """Start the server for `listing`, with an empty cache of environments."""
    own = own_cache(tmp_path / "cache")

    def start_server(*arguments: str, **variables: str) -> Running:
        return start(*arguments, command=MODULE, variables=own | variables)

    return start_server


def version(python: tuple[int, int] = OWN.version) -> str:
    """Return a version as the app tells it."""
    return "{}.{}".format(*python)


@pytest.fixture
def waiting(listing: Path) -> Iterator[tuple[Path, str]]:
    """A list with an index that never answers, and the text with the usual index."""
    file = listing / "requirements.txt"
    good = file.read_text()
    # it accepts connections
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        index = f"http://127.0.0.1:{server.getsockname()[1]}/simple"
        file.write_text(f"--index-url {index}\n{good}")
        yield file, good


def test_an_environment_is_made_once(start_own: Callable[..., Running]) -> None:
    """It has what the list names, and nothing of the server; then no network is used.

    gunicorn is there, though neither app.yaml nor the list names it.
    """
    server = start_own()
    server.answers(f"{version()} 1.16.0 -")
    server.log(INSTALLING)
    # nothing can be installed: a second start must not need it
    server = start_own(UV_OFFLINE="1", PIP_NO_INDEX="1")
    server.answers(f"{version()} 1.16.0 -")
    assert "installing" not in server.stderr


def test_the_python_of_the_runtime(
    listing: Path, start_own: Callable[..., Running]
) -> None:
    """The app runs on the Python that `runtime` names, if the machine has it."""
    others = ((3, minor) for minor in range(8, 15) if (3, minor) != OWN.version)
    found = next(filter(None, map(interpreters.find, others)), None)
    if found is None:
        pytest.skip("this machine has one Python")
    runtime = "python{}{}".format(*found.version)
    (listing / "app.yaml").write_text(f"runtime: {runtime}\n")
    server = start_own()
    server.answers(f"{version(found.version)} 1.16.0 -")
    assert "warning" not in server.stderr


def test_a_python_that_is_not_there(
    listing: Path, start_own: Callable[..., Running]
) -> None:
    """The app runs on the server's Python, and one warning says so."""
    (listing / "app.yaml").write_text("runtime: python399\n")
    server = start_own()
    server.answers(f"{version()} 1.16.0 -")
    (listing / "main.py").touch()
    server.log("main.py changed")
    server.answers(f"{version()} 1.16.0 -")
    (warning,) = (x for x in server.stderr.splitlines() if "warning" in x)
    assert "python399" in warning
    assert f"Python {version()}" in warning


def test_an_edit_of_the_list(listing: Path, start_own: Callable[..., Running]) -> None:
    """An edit installs and restarts; a list that fails changes nothing."""
    server = start_own()
    server.answers(f"{version()} 1.16.0 -")
    edit(listing / "requirements.txt", "1.16.0", "9999")
    server.log(r"error: .*requirements\.txt.*above")
    assert "9999" in server.stderr  # the installer's reason
    server.answers(f"{version()} 1.16.0 -")
    edit(listing / "requirements.txt", "9999", "1.17.0")
    server.answers(f"{version()} 1.17.0 -")


def test_a_list_that_cannot_be_installed(
    listing: Path, start_own: Callable[..., Running]
) -> None:
    """The server ends with status 1 after the installer's reason."""
    (listing / "requirements.txt").write_text("six==1.16.0\nsix==1.17.0\n")
    server = start_own()
    assert server.process.wait(PATIENCE) == 1
    *before, last = server.stderr.splitlines()
    assert "gae-devserver: error: " in last
    assert "requirements.txt" in last
    assert any("1.17.0" in line for line in before)


def test_what_is_known_before_an_installation(
    listing: Path, start_own: Callable[..., Running]
) -> None:
    """A mistake in queue.yaml ends the server first; a missing list has a line."""
    (listing / "queue.yaml").write_text("queue:\n- name: default\n  rate: 5\n")
    server = start_own()
    assert server.process.wait(PATIENCE) == 2
    assert "queue.yaml, line 3" in server.stderr
    assert "installing" not in server.stderr

    (listing / "queue.yaml").unlink()
    (listing / "requirements.txt").unlink()
    start_own().log(f"there is no .*{listing.name}/requirements.txt")


def test_a_signal_while_installing(
    waiting: tuple[Path, str], start_own: Callable[..., Running]
) -> None:
    """The installer ends with the server; the next start begins again."""
    listed, good = waiting
    server = start_own()
    server.log(INSTALLING)
    pid = server.process.pid
    # the server, the watchdog, the installer
    wait_until(lambda: len(descendants(pid)) >= 2, "the installer runs", PATIENCE)
    processes = {pid} | descendants(pid)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(PATIENCE) == 0
    wait_for_end(processes, PATIENCE)
    listed.write_text(good)
    start_own().answers(f"{version()} 1.16.0 -")


def test_an_edit_while_installing(
    waiting: tuple[Path, str], start_own: Callable[..., Running]
) -> None:
    """The server installs the new list at once, though the old one still waits."""
    listed, good = waiting
    server = start_own()
    server.log(INSTALLING)
    listed.write_text(good)
    server.answers(f"{version()} 1.16.0 -")


def test_two_servers_at_once(start_own: Callable[..., Running]) -> None:
    """One of them installs, and both run."""
    servers = [start_own(), start_own()]
    for server in servers:
        server.answers(f"{version()} 1.16.0 -")


def test_a_given_environment(listing: Path, start: Callable[..., Running]) -> None:
    """With --python nothing is installed, at the start and after an edit."""
    server = start()
    answer = fetch(server.url)
    assert answer[0] == 200
    edit(listing / "requirements.txt", "1.16.0", "9999")
    line = server.log(r"warning: requirements\.txt .*")
    assert f"{sys.executable} -m pip install -r " in line
    assert fetch(server.url) == answer
    assert "installing" not in server.stderr


@pytest.mark.parametrize(
    "uv", [find_uv(), None, "/bin/false"], ids=["uv", "pip", "uv that fails"]
)
def test_each_installer(
    tmp_path: Path, uv: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uv and pip make the same environment; paths are relative to the app's folder.

    Neither the shell's settings for other environments nor those for uv in the app's
    pyproject.toml change it. Its modules are compiled, also where Python may not do so.
    """
    for name in ("PIP_TARGET", "UV_TARGET", "UV_PREFIX"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    settings = "[tool.uv]\nrequired-version = '>=99'\n"
    (tmp_path / "pyproject.toml").write_text(settings)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "base.txt").write_text("six==1.16.0\n")
    file = tmp_path / "requirements.txt"
    file.write_text("-r lists/base.txt\n")
    cache = Cache(tmp_path / "cache", uv=uv)

    python = cache.environment(OWN, file, gunicorn=True)

    (site,) = python.bin_folder.parent.glob("lib/*/site-packages")
    names = {path.name.partition(".")[0] for path in site.iterdir()}
    assert {"six", "gunicorn"} < names
    assert "aiohttp" not in names
    assert list(site.glob("__pycache__/six.*.pyc"))
    assert interpreters.inspect(python.executable) == python
    assert cache.environment(OWN, file, gunicorn=True) == python


def test_a_failure_is_shared(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Services with the same list that cannot be installed cause one attempt."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    cache = Cache(tmp_path / "cache")
    file = tmp_path / "requirements.txt"
    file.write_text("no-such-package==1\n")
    ask = functools.partial(cache.environment, OWN, file, gunicorn=False)
    with ThreadPoolExecutor() as pool:
        asked = [pool.submit(ask) for _ in range(3)]
    assert all(isinstance(one.exception(), InstallError) for one in asked)
    with pytest.raises(InstallError):
        ask()
    assert sum("installing" in text for text in caplog.messages) == 1


def test_unused_environments_are_deleted(tmp_path: Path) -> None:
    """An environment that no app has used for long goes when another one is made."""
    cache = Cache(tmp_path / "cache", uv=find_uv(), unused_seconds=3600)
    file = tmp_path / "requirements.txt"
    made = []
    for text in ("", "six==1.16.0\n", "six==1.17.0\n"):
        file.write_text(text)
        made.append(cache.environment(OWN, file, gunicorn=False).bin_folder.parent)
        if not text:  # the first one was used last two hours ago
            for path in made[0].iterdir():
                os.utime(
                    path, (path.stat().st_mtime - 7200,) * 2, follow_symlinks=False
                )
    assert [folder.exists() for folder in made] == [False, True, True]
