"""What a session installs: the locked releases, once."""

import re

import pytest

from tests.commands.clone import Clone
from tests.commands.running import Run

LOCK = "requirements-lock.txt"
LINT = ("-s", "lint", "--install-only")
SERVE = ("-s", "serve", "--install-only", "--", "flask")


@pytest.fixture(scope="module")
def serve_clone(
    first_run: tuple[Clone, Run], tmp_path_factory: pytest.TempPathFactory
) -> Clone:
    """A clone in which nox and what serve needs are set up."""
    clone = first_run[0].copy(tmp_path_factory.mktemp("serve") / "clone")
    installed = clone.run(*SERVE)
    assert installed.returncode == 0, installed.stderr
    return clone


def test_session_installs_once(used_clone: Clone) -> None:
    """A session installs at its first run, and after an interruption or a change."""
    first = used_clone.run(*LINT)
    second = used_clone.run(*LINT)
    (finished,) = used_clone.folder.glob(".nox/*/lint/installed-by-noxfile.txt")
    finished.unlink()  # it is written last
    third = used_clone.run(*LINT)
    with (used_clone.folder / LOCK).open("a") as lock:
        lock.write("# changed\n")
    fourth = used_clone.run(*LINT)

    runs = (first, second, third, fourth)
    assert [r.returncode for r in runs] == [0] * 4, first.stderr
    told = ["installing lint" in r.stderr for r in runs]
    assert told == [True, False, True, True]
    assert "Creating virtual environment" in third.stderr


@pytest.mark.parametrize("backend", ["uv", "virtualenv"])
@pytest.mark.parametrize(
    ("package", "old", "new"),
    [
        ("ruff", "(?<=sha256:)....", "0000"),
        ("grimp", "(?<=sha256:)....", "0000"),  # import-linter depends on it
        ("grimp", "(?s).*", ""),
    ],
    ids=["hash", "hash of a dependency", "no dependency"],
)
def test_package_that_is_not_the_locked_one_is_refused(
    package: str, old: str, new: str, backend: str, used_clone: Clone
) -> None:
    """A file that is not the locked one is refused, by uv and by pip."""
    lock = used_clone.folder / LOCK
    entry = re.compile(rf"^{package}==.*?(?=^\w)", re.MULTILINE | re.DOTALL)
    lock.write_text(entry.sub(lambda x: re.sub(old, new, x[0]), lock.read_text()))

    result = used_clone.run("-db", backend, *LINT)

    assert result.returncode == 1
    assert f"({backend})" in result.stderr
    assert re.search("(?i)hash", result.stderr)
    (environment,) = used_clone.folder.glob(".nox/*/lint")
    assert not list(environment.glob(f"lib/*/site-packages/{package}*"))
    assert not (environment / "installed-by-noxfile.txt").exists()


def test_session_installs_what_is_locked(serve_clone: Clone) -> None:
    """Every installed package has the release of the lock."""
    locked = re.findall(r"(?m)^(\S+)==(\S+)", (serve_clone.folder / LOCK).read_text())
    installed = serve_clone.packages("serve")
    assert {"django", "aiohttp", "grpcio-tools"} <= set(installed)
    assert installed.pop("gae-devserver")
    assert set(installed.items()) <= set(locked)
    # compiled: otherwise the first user who serves an app sees the SDK's warnings
    (sdk,) = serve_clone.folder.glob(".nox/*/serve/lib/*/*/google/appengine")
    assert list(sdk.glob("ext/deferred/__pycache__/deferred.*.pyc"))


def test_changed_dev_server_is_installed_again(serve_clone: Clone) -> None:
    """A change of its pyproject.toml, such as of a command, takes effect."""
    project = serve_clone.folder / "devserver" / "pyproject.toml"
    text = project.read_text()
    project.write_text(text.replace("gae-devserver =", "renamed-devserver ="))

    result = serve_clone.run(*SERVE)

    assert result.returncode == 0, result.stderr
    (renamed,) = serve_clone.folder.glob(".nox/*/serve/bin/*-devserver")
    assert renamed.name == "renamed-devserver"


def test_changed_pin_gets_into_the_lock(used_clone: Clone) -> None:
    """A pin that is not locked is refused; `nox -s lock` adds it, and nothing else."""
    lock = used_clone.folder / LOCK
    before = lock.read_text()
    pyproject = used_clone.folder / "pyproject.toml"
    pins = re.sub('ruff==[^"]+', "ruff==0.17.5", pyproject.read_text())
    pyproject.write_text(pins)

    refused = used_clone.run(*LINT)
    locked = used_clone.run("-s", "lock")
    installed = used_clone.run(*LINT)

    assert refused.returncode == 1
    assert f"{LOCK} has no ruff==0.17.5" in refused.stderr
    assert "noxfile.py -s lock" in refused.stderr
    assert [locked.returncode, installed.returncode] == [0, 0], installed.stderr
    assert used_clone.packages("lint")["ruff"] == "0.17.5"
    after = lock.read_text()
    name = re.compile(r"(?m)^[^ #\n=]+")
    assert "\nruff==0.17.5 \\\n    --hash=sha256:" in after
    assert name.findall(after) == name.findall(before)
    assert "://" not in after
