"""docs/services.md: its app passes its tests."""

import pathlib
import sys

from tests.commands.pages import files, page
from tests.commands.running import run

PAGE = page("docs/services.md")


def test_the_app_passes_its_tests(
    own_cache: dict[str, str], tmp_path: pathlib.Path
) -> None:
    """The files are complete: there is no need for any other."""
    for path, content in files(PAGE).items():
        (tmp_path / path).write_text(content)

    done = run(
        sys.executable,
        "-m",
        "pytest",
        "--devserver-app=.",
        folder=tmp_path,
        **own_cache,
    )

    assert "2 passed" in done.stdout, done.stdout + done.stderr
