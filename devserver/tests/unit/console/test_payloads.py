"""Payloads in a form that people can read."""

import json
from typing import Any

import pytest

from gae_devserver.console.tasks.payloads import SHOWN_BYTES, describe_payload

FORM = "application/x-www-form-urlencoded; charset=utf-8"
DEEP = b"[" * 900 + b"1," * 5000 + b"1" + b"]" * 900


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        (b"", "empty", ""),
        (b"plain \xc3\xa4\n\x1b[31m", "text", "plain \u00e4\n\x1b[31m"),
        (b'{"a":[1,"\xc3\xa4"]}', "json", '{\n  "a": [\n    1,\n    "\u00e4"\n  ]\n}'),
        (b'{"a":', "text", '{"a":'),
        (b"[" * 5000, "text", "[" * 5000),
        (DEEP, "text", DEEP.decode()),
        (b"1" * 5000, "text", "1" * 5000),
        (b"\x00A\xff", "binary", f"0000  {'00 41 ff':<47}  .A."),
    ],
)
def test_a_payload_is_shown(body: bytes, kind: str, text: str) -> None:
    """JSON with line breaks, other text as it is, and bytes as hexadecimal numbers."""
    content = describe_payload(body, [])
    assert (content["kind"], content["text"], content["is_cut"]) == (kind, text, False)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"a=1&b=x+y%26&b=", [["a", "1"], ["b", "x y&"], ["b", ""]]),
        (b"&".join([b"a=1"] * 501), []),
        (b"nothing", [["nothing", ""]]),
    ],
)
def test_a_form_is_shown(body: bytes, fields: list[Any]) -> None:
    """By its fields, if they are not too many."""
    content = describe_payload(body, [["content-type", FORM]])
    assert content["fields"] == fields
    assert content["kind"] == ("form" if fields else "text")


@pytest.mark.parametrize("first", [b"", b"x", b"\xff"])
def test_a_large_payload_is_cut(first: bytes) -> None:
    """What is shown is limited, also in the middle of a character."""
    body = first + json.dumps(["\u00e4" * SHOWN_BYTES], ensure_ascii=False).encode()
    content = describe_payload(body, [["Content-Type", FORM]])
    assert content["is_cut"]
    assert content["kind"] == ("binary" if first == b"\xff" else "text")
    assert len(content["text"]) < SHOWN_BYTES
