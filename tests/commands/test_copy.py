"""`nox -s copy`: an app that is complete without this repository."""

import pathlib
from collections.abc import Callable

import pytest

from tests.commands.running import nox, reason, run
from tests.servers.embedded import Embedded
from tests.servers.staging import APPS, REPOSITORY

CLOUD_NDB = "shared/counter_cloud_ndb.py"
FILES = {".gcloudignore", "app.yaml", "main.py", "requirements.txt"} | {
    f"shared/{path.name}" for path in (REPOSITORY / "shared").glob("*.py")
}
"""What a copy consists of."""


def copy_with_nox(app: str, folder: pathlib.Path) -> None:
    """Copy as the README says."""
    copied = nox("-s", "copy", "--", app, folder)
    assert copied.returncode == 0, copied.stderr


def copy_with_cp(app: str, folder: pathlib.Path) -> None:
    """Copy with the command that follows links."""
    assert run("cp", "-RL", REPOSITORY / APPS[app], folder).returncode == 0


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

    assert files(folder) == FILES
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    with Embedded(folder, tmp_path) as server:
        server.get("/counter/increment")
        server.advance(130)
        assert server.get("/counter/get").text == "30"


def test_copy_with_cloud_ndb(tmp_path: pathlib.Path) -> None:
    """shared/counter.py is the file for Cloud NDB; main.py does not change."""
    copied = nox("-s", "copy", "--", "flask", tmp_path / "copy", "--ndb", "cloud")

    assert copied.returncode == 0, copied.stderr
    assert files(tmp_path / "copy") == FILES - {CLOUD_NDB}
    counter = tmp_path / "copy" / "shared" / "counter.py"
    assert counter.read_bytes() == (REPOSITORY / CLOUD_NDB).read_bytes()


def test_copy_leaves_the_rest_behind(
    small_clone: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Caches, environments and hidden files in the app's folder are not copied."""
    junk = """
        shared/__pycache__/x shared/x.pyc shared/.mypy_cache/x
        flask_app/__pycache__/x flask_app/x.pyc flask_app/.pytest_cache/x
        flask_app/.venv/x flask_app/venv/x flask_app/env/x flask_app/.git/x
        flask_app/.env
    """
    for name in junk.split():
        (small_clone / name).parent.mkdir(exist_ok=True)
        (small_clone / name).touch()
    (small_clone / "flask_app" / "templates" / "shared").mkdir(parents=True)
    copy = tmp_path / "new" / "copy"

    copied = nox("-s", "copy", "--", "flask", copy, noxfile=small_clone / "noxfile.py")

    assert copied.returncode == 0, copied.stderr
    folders = {x.relative_to(copy).as_posix() for x in copy.rglob("*") if x.is_dir()}
    assert folders == {"shared", "templates", "templates/shared"}
    assert files(copy) == FILES


def test_folder_is_relative_to_the_user(small_clone: pathlib.Path) -> None:
    """DIR may exist, if it is empty, and its name may start with the app's name."""
    copy = small_clone / "flask_app_2"
    copy.mkdir()

    copied = nox(
        "-s",
        "copy",
        "--",
        "flask_app",
        "../flask_app_2",
        noxfile=small_clone / "noxfile.py",
        folder=small_clone / "tools",
    )

    assert copied.returncode == 0, copied.stderr
    assert str(copy) in copied.stderr
    assert files(copy) == FILES


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
    folder: str, source: str, small_clone: pathlib.Path
) -> None:
    """A copy inside the app or inside `shared` would contain itself."""
    before = files(small_clone)

    copied = nox(
        "-s",
        "copy",
        "--",
        "flask",
        folder,
        noxfile=small_clone / "noxfile.py",
        folder=small_clone,
    )

    words = set(reason(copied).split())
    assert {f"{small_clone / folder}", f"{small_clone / source},"} <= words
    assert files(small_clone) == before
    assert not (small_clone / folder).exists()


@pytest.mark.parametrize("place", ["", "file", "file/new", "link"])
def test_place_where_no_copy_can_be_is_refused(
    place: str, tmp_path: pathlib.Path
) -> None:
    """The error names a folder that is not empty, a file, or a broken link."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")

    copied = nox("-s", "copy", "--", "flask", tmp_path / place)

    assert str(tmp_path / place) in reason(copied)
    assert files(tmp_path) == {"file", "link"}
    assert (tmp_path / "file").read_text() == "mine"
