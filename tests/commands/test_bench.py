"""`nox -s bench` measures every row; its figures are for people to read."""

import json
import pathlib
import shlex
import sys

import pytest

from tests.bench.rows import TABLES
from tests.commands.pages import page
from tests.commands.running import nox, run

COMMAND = "nox -s bench -- --short"
ALONE = "--alone"  # Google's servers would take as long again, and may be missing


def test_short_bench(tmp_path: pathlib.Path) -> None:
    """The short bench prints each row, and writes it as JSON and on a page."""
    assert f"`{COMMAND}`" in page("CONTRIBUTING.md")
    shown = tmp_path / "page.md"
    shown.write_text("# Benchmarks\n\n## Results\n\nold\n")
    files = (f"--json={tmp_path / 'bench.json'}", f"--page={shown}")
    done = nox(*shlex.split(COMMAND)[1:], ALONE, *files)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    report = json.loads((tmp_path / "bench.json").read_text())
    assert min(map(len, report["machine"].values())) > 0
    assert {"Python", "SDK", "gunicorn"} <= set(report["versions"])
    rows = {row["row"]: row for row in report["rows"]}
    assert list(rows) == [row for table in TABLES for row in table.rows]
    for row in rows.values():
        assert row["sides"]
        for side in row["sides"].values():
            assert 0 < side["lowest"] <= side["median"] <= side["highest"]
        assert len(row["sides"]) == 1 or row["ratio"]["median"] > 0
        assert f"| {row['row']} " in done.stdout
    above, _, below = shown.read_text().partition("\n## Results\n\n")
    assert above == "# Benchmarks\n"
    assert below.startswith(f"- {report['date']}")
    assert below.strip() in done.stdout


@pytest.mark.parametrize(
    ("option", "value"), [("--runs", "0"), ("--page", "README.md"), ("--page", "no.md")]
)
def test_mistakes(option: str, value: str) -> None:
    """A wrong option is an error at once, not after a quarter of an hour."""
    done = run(sys.executable, "-m", "tests.bench", option, value)
    assert done.returncode == 2
    assert f"argument {option}: " in done.stderr.splitlines()[-1]
    assert value in done.stderr.splitlines()[-1]
