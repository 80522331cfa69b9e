"""On Windows an app can be copied; what needs a POSIX system ends in one line."""

import pathlib
import sys

import pytest

from tests.commands.running import Run, run
from tests.servers.staging import REPOSITORY

WINDOWS = """
import shutil, sys
import nox.__main__
import filelock, nox.virtualenv  # they look at the system when they are imported
shutil.which = lambda *_, **__: None  # since Python 3.12 it calls Windows
sys.platform = "win32"
sys.argv[0] = "nox"
nox.__main__.main()
"""


def nox(*arguments: pathlib.Path | str, folder: pathlib.Path = REPOSITORY) -> Run:
    """Run the noxfile.py in a folder as on Windows."""
    noxfile = folder / "noxfile.py"
    return run(sys.executable, "-c", WINDOWS, "-f", noxfile, "--no-venv", *arguments)


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
def test_posix_only(arguments: list[str]) -> None:
    """What needs gunicorn or a POSIX system ends in a line, not a traceback."""
    result = nox("-s", *arguments)

    assert "On Windows, use WSL" in result.stderr
    assert "Traceback" not in result.stderr
    skipped = "dev_appserver_cloud" in arguments[0]
    assert result.returncode == (0 if skipped else 1)


def test_text_file_in_place_of_the_link(
    small_clone: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """If git wrote a text file instead of the link, a copy is complete nevertheless.

    To serve the app, the line says to use WSL; to copy it would not help.
    """
    link = small_clone / "flask_app" / "shared"
    link.unlink()
    link.write_text("../shared")

    copied = nox("-s", "copy", "--", "flask", tmp_path / "copy", folder=small_clone)
    served = nox("-s", "serve", "--", "flask", folder=small_clone)

    assert copied.returncode == 0, copied.stderr
    for file in (REPOSITORY / "shared").glob("*.py"):
        copy = tmp_path / "copy" / "shared" / file.name
        assert copy.read_bytes() == file.read_bytes()
    assert served.returncode == 1
    assert "On Windows, use WSL" in served.stderr
