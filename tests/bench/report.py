"""The results as Markdown for people, and as JSON for programs."""

import argparse
import datetime
import json
import pathlib
import statistics
from typing import Any

from tests.bench import machine
from tests.bench.rows import TABLES, Results, Table, summary

HEADLINE = "## Results\n"


def as_json(results: Results, settings: dict[str, object]) -> dict[str, Any]:
    """Return everything that is known, each single figure too."""
    now = datetime.datetime.now(datetime.UTC)
    rows = [
        {
            "table": table.title,
            "row": row,
            "unit": unit,
            "sides": {
                side: summary(figures) | {"figures": figures}
                for side in table.sides
                if (figures := results.of(row, side))
            },
            "ratio": summary(ratios) | {"figures": ratios} if ratios else None,
        }
        for table in TABLES
        for row, unit in table.rows.items()
        for ratios in [results.ratios(row, table.sides)]
    ]
    return {
        "date": now.isoformat(timespec="seconds"),
        "settings": settings,
        "machine": machine.machine(),
        "versions": machine.versions(),
        "rows": rows,
    }


def as_markdown(results: Results, report: dict[str, Any]) -> str:
    """Return the date, the machine, the versions, and the tables."""
    lines = [f"- {report['date']}"]
    for name in ("settings", "machine", "versions"):
        shown = (f"{key} {x}" for key, x in report[name].items())
        lines.append(f"- {', '.join(shown)}")
    tables = (_table(results, table) for table in TABLES)
    return "\n".join([*lines, *filter(None, tables)])


def _table(results: Results, table: Table) -> str:
    """Return a table with its title, or nothing if none of its rows was measured."""
    title = [table.title, *table.sides, f"{table.sides[0]} is"]
    lines = [title, ["---", "---:", "---:", "---:"]]
    for row, unit in table.rows.items():
        ratios = results.ratios(row, table.sides)
        sides = [results.of(row, side) for side in table.sides]
        if any(sides):
            shown = [_figures(figures, unit) for figures in sides]
            lines.append([row, *shown, _comparison(ratios, unit)])
    if len(lines) == 2:
        return ""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        ["", *(f"| {' | '.join(map(str.ljust, line, widths))} |" for line in lines)]
    )


def _comparison(ratios: list[float], unit: str) -> str:
    """Return how many times better or worse one side is than the other."""
    better, worse = ("smaller", "larger") if unit == "MB" else ("faster", "slower")
    if ratios and statistics.median(ratios) < 1:
        return _figures([1 / ratio for ratio in ratios], f"times {worse}")
    return _figures(ratios, f"times {better}")


def _figures(figures: list[float], unit: str) -> str:
    """Return a median with its unit, and from where to where the figures go."""
    if not figures:
        return "-"
    shown = summary(figures)
    digits = 2 if shown["median"] < 10 else 0
    median, low, high = (f"{figure:,.{digits}f}" for figure in shown.values())
    spread = f" ({low} to {high})" if len(figures) > 1 else ""
    return f"{median} {unit}".strip() + spread


def write(file: pathlib.Path, report: dict[str, Any]) -> None:
    """Write the JSON file."""
    file.write_text(json.dumps(report, indent=1) + "\n")


def page(path: str) -> pathlib.Path:
    """Return the page at a path that the user has typed."""
    file = pathlib.Path(path)
    if not file.is_file() or HEADLINE not in file.read_text():
        raise argparse.ArgumentTypeError(
            f"{path} is not a page with the headline {HEADLINE.strip()!r}"
        )
    return file


def update_page(file: pathlib.Path, markdown: str) -> None:
    """Replace what a page shows below its last headline."""
    above, _, _ = file.read_text().partition(HEADLINE)
    file.write_text(f"{above}{HEADLINE}\n{markdown}\n")
