"""`nox -s copy`: an app that is complete without this repository."""

import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.commands.running import nox, run
from tests.commands.test_noxfile import WINDOWS
from tests.servers.embedded import Embedded
from tests.servers.staging import APPS, REPOSITORY

FILES = {".gcloudignore", "app.yaml", "main.py", "requirements.txt"}
CLOUD_NDB = "shared/counter_cloud_ndb.py"
SHARED = {f"shared/{path.name}" for path in (REPOSITORY / "shared").glob("*.py")}


def copy_with_nox(app: str, folder: pathlib.Path) -> None:
    """Copy as the README says."""
    copied = nox("-s", "copy", "--", app, folder)
    assert copied.returncode == 0, copied.stderr


def copy_with_cp(app: str, folder: pathlib.Path) -> None:
    """Copy with the command that follows links."""
    subprocess.run(["cp", "-RL", REPOSITORY / APPS[app], folder], check=True)


def files(folder: pathlib.Path) -> set[str]:
    """Return the paths of all files and links in a folder, compiled modules apart."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if (path.is_symlink() or path.is_file()) and path.parent.name != "__pycache__"
    }


@pytest.mark.parametrize("copy", [copy_with_nox, copy_with_cp])
@pytest.mark.parametrize("app", APPS)
def test_copy_works_alone(
    app: str, copy: Callable[[str, pathlib.Path], None], tmp_path: pathlib.Path
) -> None:
    """Outside the repository a copy serves, defers, and counts."""
    folder = tmp_path / "copy"
    copy(app, folder)

    assert files(folder) == FILES | SHARED
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    server = Embedded(folder, tmp_path)
    try:
        assert server.get("/counter/get").text == "0"
        server.get("/counter/increment")
        server.advance(130)
        assert server.get("/counter/get").text == "30"
    finally:
        server.stop()


def test_copy_with_cloud_ndb(tmp_path: pathlib.Path) -> None:
    """The counter is that of Cloud NDB, under the names that main.py imports."""
    copied = nox("-s", "copy", "--", "flask", tmp_path / "copy", "--ndb", "cloud")

    assert copied.returncode == 0, copied.stderr
    assert files(tmp_path / "copy") == (FILES | SHARED) - {CLOUD_NDB}
    counter = tmp_path / "copy" / "shared" / "counter.py"
    assert counter.read_bytes() == (REPOSITORY / CLOUD_NDB).read_bytes()


def test_copy_with_an_unknown_library(tmp_path: pathlib.Path) -> None:
    """Nothing is copied, and the error names the two that there are."""
    copied = nox("-s", "copy", "--", "flask", tmp_path / "copy", "--ndb", "clod")

    assert copied.returncode != 0
    assert all(x in copied.stderr for x in ("clod", "bundled", "cloud"))
    assert not (tmp_path / "copy").exists()


def test_copy_leaves_the_rest_behind(tmp_path: pathlib.Path) -> None:
    """What Python and a developer left in the app's folder is not copied."""
    clone = clone_apps(tmp_path / "clone")
    for junk in (
        *("shared/__pycache__/x", "shared/x.pyc", "shared/.mypy_cache/x"),
        *("flask_app/__pycache__/x", "flask_app/x.pyc", "flask_app/.pytest_cache/x"),
        *("flask_app/.venv/x", "flask_app/venv/x", "flask_app/env/x"),
        *("flask_app/.git/x", "flask_app/.env"),
    ):
        (clone / junk).parent.mkdir(exist_ok=True)
        (clone / junk).touch()
    (clone / "flask_app" / "templates" / "shared").mkdir(parents=True)

    copied = nox(
        *("-s", "copy", "--", "flask", tmp_path / "new" / "copy"),
        noxfile=clone / "noxfile.py",
    )

    assert copied.returncode == 0, copied.stderr
    folders = {x.name for x in (tmp_path / "new" / "copy").rglob("*") if x.is_dir()}
    assert folders == {"shared", "templates"}
    assert (tmp_path / "new" / "copy" / "templates" / "shared").is_dir()
    assert files(tmp_path / "new" / "copy") == FILES | SHARED


def clone_apps(clone: pathlib.Path) -> pathlib.Path:
    """Copy noxfile.py with its tools, an app with its link, and `shared`."""
    leave = shutil.ignore_patterns("__pycache__")
    for folder in ("shared", "tools", "flask_app"):
        shutil.copytree(
            REPOSITORY / folder, clone / folder, symlinks=True, ignore=leave
        )
    shutil.copy(REPOSITORY / "noxfile.py", clone)
    return clone


def test_serve_on_windows_where_git_made_no_link(tmp_path: pathlib.Path) -> None:
    """To copy the app would not help there: the line says to use WSL."""
    clone = clone_apps(tmp_path / "clone")
    (clone / "flask_app" / "shared").unlink()
    (clone / "flask_app" / "shared").write_text("../shared")

    served = run(
        *(sys.executable, "-c", WINDOWS, "-f", clone / "noxfile.py", "--no-venv"),
        *("-s", "serve", "--", "flask"),
    )

    assert served.returncode == 1
    assert "On Windows, use WSL" in error_line(served.stderr)


def test_copy_where_git_made_no_link(tmp_path: pathlib.Path) -> None:
    """On Windows, where git makes a text file of the link, the copy is the same."""
    clone = clone_apps(tmp_path / "clone")
    link = clone / "flask_app" / "shared"
    link.unlink()
    link.write_text("../shared")

    copied = nox(
        "-s", "copy", "--", "flask", tmp_path / "copy", noxfile=clone / "noxfile.py"
    )

    assert copied.returncode == 0, copied.stderr
    assert files(tmp_path / "copy") == FILES | SHARED
    for file in FILES | SHARED:
        original = REPOSITORY / "flask_app" / file
        assert (tmp_path / "copy" / file).read_bytes() == original.read_bytes()


def test_folder_is_meant_from_where_the_user_is(tmp_path: pathlib.Path) -> None:
    """A relative DIR counts from the current folder; an empty one may be there."""
    (tmp_path / "copy").mkdir()

    copied = nox("-s", "copy", "--", "flask_app", "copy", folder=tmp_path)

    assert copied.returncode == 0, copied.stderr
    assert str(tmp_path / "copy") in copied.stderr
    assert files(tmp_path / "copy") == FILES | SHARED


@pytest.mark.parametrize(
    ("folder", "source"),
    [
        ("flask_app/new", "flask_app"),
        ("flask_app/a/b", "flask_app"),
        ("flask_app/shared/new", "shared"),
        ("shared/new", "shared"),
    ],
)
def test_folder_in_what_is_copied_is_refused(
    folder: str, source: str, tmp_path: pathlib.Path
) -> None:
    """A copy inside the app or inside `shared` would have a copy of itself in it."""
    clone = clone_apps(tmp_path / "clone")
    before = set(clone.rglob("*"))

    copied = nox(
        *("-s", "copy", "--", "flask", folder),
        noxfile=clone / "noxfile.py",
        folder=clone,
    )

    assert copied.returncode == 1
    line = error_line(copied.stderr)
    assert {f"{clone / folder}", f"{clone / source},"} <= set(line.split())
    made = {x for x in set(clone.rglob("*")) - before if "__pycache__" not in x.parts}
    assert not made


def test_copy_beside_the_apps(tmp_path: pathlib.Path) -> None:
    """Elsewhere in the repository, an app can be copied to a folder."""
    clone = clone_apps(tmp_path / "clone")

    copied = nox(
        *("-s", "copy", "--", "flask", "flask_app_2"),
        noxfile=clone / "noxfile.py",
        folder=clone,
    )

    assert copied.returncode == 0, copied.stderr
    assert files(clone / "flask_app_2") == FILES | SHARED


def test_folder_that_is_not_empty_is_refused(tmp_path: pathlib.Path) -> None:
    """Nothing is written into a folder that holds anything."""
    (tmp_path / "mine").touch()

    copied = nox("-s", "copy", "--", "flask", tmp_path)

    assert copied.returncode == 1
    assert str(tmp_path) in error_line(copied.stderr)
    assert files(tmp_path) == {"mine"}


@pytest.mark.parametrize("place", ["file", "file/new", "link"])
def test_place_where_no_folder_can_be_is_refused(
    place: str, tmp_path: pathlib.Path
) -> None:
    """A file, a folder in a file and a dangling link are named, in one line."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")

    copied = nox("-s", "copy", "--", "flask", tmp_path / place)

    assert copied.returncode == 1
    assert str(tmp_path / place) in error_line(copied.stderr)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ([], "APP, DIR"),
        (["flask"], "required: DIR"),
        (["flusk", "copy"], "'flusk'"),
        (["flask", "copy", "more"], "more"),
    ],
)
def test_mistake_in_the_arguments(
    arguments: list[str], wrong: str, tmp_path: pathlib.Path
) -> None:
    """One line names the mistake, the apps, and a command that is right."""
    copied = nox("-s", "copy", "--", *arguments, folder=tmp_path)

    assert copied.returncode == 1
    assert wrong in error_line(copied.stderr)
    assert "flask, django or plain_wsgi" in copied.stderr
    assert "python3 noxfile.py -s copy -- flask ../my_app" in copied.stderr
    assert not list(tmp_path.iterdir())


def error_line(stderr: str) -> str:
    """Return the one line of nox that says why a session was aborted."""
    (line,) = (x for x in stderr.splitlines() if "aborted" in x)
    assert "Traceback" not in stderr
    return line.partition(" aborted: ")[2]


def test_copy_with_a_dangling_link_names_the_command(tmp_path: pathlib.Path) -> None:
    """What plain `cp -r` makes is refused by serve, in one line."""
    folder = tmp_path / "copy"
    subprocess.run(["cp", "-r", REPOSITORY / "flask_app", folder], check=True)

    assert " link" in refused(folder)


def test_text_file_in_place_of_the_link_names_the_command(
    tmp_path: pathlib.Path,
) -> None:
    """So is what git on Windows makes of the link."""
    folder = tmp_path / "copy"
    subprocess.run(["cp", "-r", REPOSITORY / "flask_app", folder], check=True)
    (folder / "shared").unlink()
    (folder / "shared").write_bytes(b"../shared\r\n")

    refused(folder)


def test_copy_without_shared_names_the_command(tmp_path: pathlib.Path) -> None:
    """An app that misses `shared` altogether is told how it is copied."""
    folder = tmp_path / "copy"
    folder.mkdir()
    (folder / "app.yaml").write_text("runtime: python313\nentrypoint: python main.py\n")
    (folder / "main.py").write_text("import shared.counter\n")

    served = nox("-s", "serve", "--", folder, "--port", "0")

    assert served.returncode == 1
    (line,) = (x for x in served.stderr.splitlines() if "error: " in x)
    assert "python3 noxfile.py -s copy -- flask" in line


def refused(folder: pathlib.Path) -> str:
    """Return the reason for which serve refuses the app in a folder."""
    served = nox("-s", "serve", "--", folder, "--port", "0")

    line = error_line(served.stderr)
    assert served.returncode == 1
    assert str(folder / "shared") in line
    assert "python3 noxfile.py -s copy -- flask" in line
    return line
