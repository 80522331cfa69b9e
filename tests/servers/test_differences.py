"""Each row of docs/differences.md on the two dev servers is tested."""

import pathlib
import re
import subprocess
import sys

import pytest

from tests.servers.differences import DIFFERENCES
from tests.servers.staging import REPOSITORY
from tools import cloud_sdk

TESTS = REPOSITORY / "tests"


def marked(marker: str, *files: pathlib.Path) -> set[str]:
    """Return the keys that a marker names in some files."""
    pattern = rf'mark\.{marker}\("([^"]*)"\)'
    return {key for file in files for key in re.findall(pattern, file.read_text())}


def test_contract_uses_every_difference() -> None:
    """A test needs each entry, and each marker names an entry."""
    files = [TESTS / "routes.py", *(TESTS / "contract").glob("*.py")]

    assert marked("differs", *files) == set(DIFFERENCES)


def test_what_is_skipped_is_shown() -> None:
    """If an entry's tests are skipped, another test shows it on dev_appserver.py."""
    shown = marked("shows", TESTS / "servers" / "test_dev_appserver.py")

    assert shown == {key for key, entry in DIFFERENCES.items() if entry.skipped}


DIFFERS = """
import pytest

@pytest.mark.differs("dots")
def test_that_differs():
    assert False

@pytest.mark.differs("dots")
def test_that_passes():
    pass

@pytest.mark.differs("dots")
def test_that_breaks():
    raise RuntimeError("the server ended")

@pytest.mark.differs("pause")
def test_that_is_skipped():
    raise RuntimeError("the server ended")

@pytest.mark.differs("two stores")
def test_that_passes_with_bundled_ndb():
    pass
"""


def test_entry_that_is_wrong_is_found(tmp_path: pathlib.Path) -> None:
    """On dev_appserver.py, a marked test that passes or breaks fails the contract."""
    try:
        cloud_sdk.find_dev_appserver()
    except cloud_sdk.NotInstalledError as error:
        pytest.skip(str(error))
    test = tmp_path / "test_differs.py"
    test.write_text(DIFFERS)

    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-pno:cacheprovider",
            "-ptests.conftest",
            f"--config-file={REPOSITORY / 'pyproject.toml'}",
            "--server=dev_appserver",
            test,
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 failed, 1 passed, 1 skipped, 1 xfailed" in done.stdout
    assert re.findall(r"(?m)^FAILED .*::test_that_(\w+)", done.stdout) == [
        "passes",
        "breaks",
    ]


def test_page_has_every_difference() -> None:
    """The table in docs/differences.md has these rows, and no others."""
    page = (REPOSITORY / "docs" / "differences.md").read_text()
    section = page.partition("\n### Differences\n")[2].partition("\n## ")[0]
    _, _, *rows = [line for line in section.splitlines() if line.startswith("|")]

    for row, difference in zip(rows, DIFFERENCES.values(), strict=True):
        assert row.startswith(f"| {difference.case}")
