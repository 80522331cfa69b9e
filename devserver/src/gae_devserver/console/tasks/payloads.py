"""The payload of a task in a form that people can read, cut to a length."""

import codecs
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import parse_qsl

SHOWN_BYTES = 2**16
_SHOWN_HEX = 2**12
_MAX_JSON = 2**14
_MAX_PRETTY = 2**17
_MAX_FIELDS = 500
_UTF_8 = codecs.getincrementaldecoder("utf-8")
# text has no control characters but tabs, line ends and the escape of colors
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]")
_FORM = "application/x-www-form-urlencoded"


def describe_payload(body: bytes, headers: Iterable[Sequence[str]]) -> dict[str, Any]:
    """Return the content of a payload.

    Its "kind" is "empty", "json", "form", "text" or "binary"; its "text" may have been
    cut; a form has "fields".
    """
    types = [value for name, value in headers if name.lower() == "content-type"]
    content = {"kind": "empty", "text": "", "fields": [], "is_cut": False}
    if not body:
        return content
    try:
        # a character that is cut at the end is left out
        text = _UTF_8().decode(body[:SHOWN_BYTES], final=len(body) <= SHOWN_BYTES)
    except UnicodeDecodeError:
        text = "\0"
    if _CONTROL.search(text):
        shown = body[:_SHOWN_HEX]
        return content | {
            "kind": "binary",
            "text": _hex(shown),
            "is_cut": len(shown) < len(body),
        }
    content |= {"kind": "text", "text": text, "is_cut": len(body) > SHOWN_BYTES}
    if any(_FORM in one.lower() for one in types) and not content["is_cut"]:
        try:
            fields = parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS)
        except ValueError:
            fields = []
        if fields:
            return content | {"kind": "form", "fields": [[*pair] for pair in fields]}
    if len(body) <= _MAX_JSON and (pretty := _pretty(text)) is not None:
        return content | {"kind": "json", "text": pretty}
    return content


def _pretty(text: str) -> str | None:
    """Return JSON with line breaks; None: it is none, or would be very long."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        parts: list[str] = []
        size = 0
        for part in json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(
            json.loads(text)
        ):
            parts.append(part)
            size += len(part)
            if size > _MAX_PRETTY:
                return None
    except (ValueError, RecursionError):
        return None
    return "".join(parts)


def _hex(data: bytes) -> str:
    lines = []
    for start in range(0, len(data), 16):
        row = data[start : start + 16]
        text = "".join(chr(b) if 0x20 <= b < 0x7F else "." for b in row)
        lines.append(f"{start:04x}  {row.hex(' '):<47}  {text}")
    return "\n".join(lines)
