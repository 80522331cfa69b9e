"""Whoever stays with bundled NDB deletes Cloud NDB, and nothing else changes."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

from tests.apps.plain_gunicorn import APPS, REPOSITORY


def delete_line(file: pathlib.Path) -> None:
    """Delete the line that names cloud_ndb, which must be one."""
    lines = file.read_text().splitlines(keepends=True)
    others = [line for line in lines if "cloud_ndb" not in line]
    assert len(others) == len(lines) - 1
    file.write_text("".join(others))


def test_contract_holds_without_cloud_ndb(tmp_path: pathlib.Path) -> None:
    """Without the file, and the lines that name it, the app is the bundled one."""
    copy = tmp_path / "copy"
    ignore = shutil.ignore_patterns(".*", "__pycache__")
    shutil.copytree(REPOSITORY, copy, ignore=ignore, symlinks=True)
    (copy / "shared" / "cloud_ndb.py").unlink()
    delete_line(copy / "shared" / "counter.py")
    for app in APPS:
        delete_line(copy / app / "requirements.txt")

    result = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "tests/contract", "--app=plain_wsgi"),
            *("-q", "-p", "no:cacheprovider"),
        ],
        cwd=copy,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"\d{3} passed", result.stdout)
