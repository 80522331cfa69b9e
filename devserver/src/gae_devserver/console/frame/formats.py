"""How pages show times, sizes and text: the filters of the templates."""

import datetime
import json
from typing import Any
from urllib.parse import quote, urlencode

from multidict import MultiMapping

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
# What a browser would not show, or what would change the order of the text around it.
_HIDDEN = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\t\n\r"},
    0x7F: "\u2421",
    **{
        code: f"\\u{code:04x}"
        for code in (*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    },
}


def segment(text: object) -> str:
    """Return text as one segment of a path in a URL."""
    return quote(str(text), safe="", errors="replace")


def moment(seconds: float | None) -> str:
    """Return a time (seconds since the epoch) in UTC."""
    if seconds is None:
        return "never"
    try:
        time = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return f"{seconds:.0f} s"
    return f"{time:%Y-%m-%d %H:%M:%S}"


def span(seconds: float | None) -> str:
    """Return a length of time with its two largest units, such as 1 min 30 s."""
    if seconds is None:
        return ""
    if seconds < 0:
        return f"-{span(-seconds)}"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms" if seconds else "0 s"
    if seconds < 10:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    rest = round(seconds)
    parts: list[tuple[int, str]] = []
    for size, unit in _UNITS:
        whole, rest = divmod(rest, size)
        if whole or parts:
            parts.append((whole, unit))
    return " ".join(f"{whole} {unit}" for whole, unit in parts[:2] if whole)


def milliseconds(seconds: float) -> str:
    """Return how long something in a request took, such as 0.4 ms."""
    if abs(seconds) >= 10:
        return f"{seconds:.1f} s"
    value = seconds * 1000
    return f"{value:.1f} ms" if abs(value) < 100 else f"{value:.0f} ms"


def due(seconds: float) -> str:
    """Return when something is due, such as "in 1 min" or "10 s ago"."""
    if seconds >= 1:
        return f"in {span(round(seconds))}"
    return "now" if seconds > -1 else f"{span(round(-seconds))} ago"


def count(number: int) -> str:
    """Return a number with commas, such as 10,000."""
    return f"{number:,}"


def short(text: object, most: int = 200) -> str:
    """Return the beginning of a text, which says so if it is not all of it."""
    whole = str(text)
    return whole if len(whole) <= most else f"{whole[:most]}…"


def named(text: str) -> str:
    """Return a name, or its JSON if it would be invisible, and so no link."""
    can_be_seen = any(c.isprintable() and not c.isspace() for c in text)
    return text if can_be_seen else json.dumps(text)


def pretty(value: Any) -> str:
    """Return a value as JSON with line breaks."""
    return json.dumps(value, indent=2, default=str)


def compact(value: Any) -> str:
    """Return a value as JSON on one line, such as the body of a button's request."""
    return json.dumps(value)


def iso(seconds: float) -> str:
    """Return a time (seconds since the epoch) as HTML's <time> takes it."""
    text = moment(seconds)
    return f"{text.replace(' ', 'T')}Z" if ":" in text else text


def without(query: MultiMapping[str], name: str) -> str:
    """Return a query string with all but one of its fields, or ""."""
    fields = [(key, value) for key, value in query.items() if key != name]
    return f"?{urlencode(fields, errors='replace')}" if fields else ""


def with_cursor(query: MultiMapping[str], cursor: object) -> str:
    """Return the query string of the page that a cursor leads to."""
    fields = [(key, value) for key, value in query.items() if key != "cursor"]
    return f"?{urlencode([*fields, ('cursor', str(cursor))], errors='replace')}"


def visible(html: str) -> bytes:
    """Return a page in UTF-8 in which every character of the app can be seen."""
    return html.translate(_HIDDEN).encode("utf-8", "replace")


FILTERS = {
    "count": count,
    "due": due,
    "iso": iso,
    "json": compact,
    "moment": moment,
    "ms": milliseconds,
    "named": named,
    "pretty": pretty,
    "segment": segment,
    "short": short,
    "span": span,
    "with_cursor": with_cursor,
    "without": without,
}
