"""The results as Markdown for people, and as JSON for programs."""

import datetime
import json
import pathlib
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
    lines = [[table.title, *table.sides, "ratio"], ["---", "---:", "---:", "---:"]]
    for row, unit in table.rows.items():
        ratios = results.ratios(row, table.sides)
        sides = [results.of(row, side) for side in table.sides]
        if any(sides):
            shown = [_figures(figures, unit) for figures in sides]
            lines.append([row, *shown, _figures(ratios, "", digits=1)])
    if len(lines) == 2:
        return ""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        ["", *(f"| {' | '.join(map(str.ljust, line, widths))} |" for line in lines)]
    )


def _figures(figures: list[float], unit: str, digits: int | None = None) -> str:
    """Return a median with its unit, and from where to where the figures go."""
    if not figures:
        return "-"
    shown = summary(figures)
    if digits is None:
        digits = 2 if shown["median"] < 10 else 0
    median, low, high = (f"{figure:,.{digits}f}" for figure in shown.values())
    spread = f" ({low} to {high})" if len(figures) > 1 else ""
    return f"{median} {unit}".strip() + spread


def write(file: pathlib.Path, report: dict[str, Any]) -> None:
    """Write the JSON file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(report, indent=1) + "\n")


def update_page(page: pathlib.Path, markdown: str) -> None:
    """Replace what a page of the documentation shows below its last headline."""
    above, headline, _ = page.read_text().partition(HEADLINE)
    if not headline:
        raise ValueError(f"{page} has no headline {HEADLINE.strip()!r}")
    page.write_text(f"{above}{HEADLINE}\n{markdown}\n")
