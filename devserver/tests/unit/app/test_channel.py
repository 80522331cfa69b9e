"""What a process of the app tells over its socket."""

import json
import socket
from pathlib import Path

import pytest

from gae_devserver.app.channel import Channels, Raised, Text

FAILURE = dict.fromkeys(("type", "message", "function", "file"), "x") | {
    "line": 1,
    "traceback": "",
    "full_traceback": "",
    "is_permanent": False,
}
RAISED = {"ticket": "t", "exception": 1, **FAILURE}


def told(tmp_path: Path, *parts: bytes) -> list[Text | Raised]:
    """Return the messages in what a process sends, in parts."""
    messages: list[Text | Raised] = []
    channels = Channels()
    close = channels.listen(tmp_path / "s", messages.append)
    with socket.socket(socket.AF_UNIX) as process:
        process.connect(str(tmp_path / "s"))
        for part in parts:
            process.sendall(part)
            channels.read()
    close()
    return messages


def test_messages(tmp_path: Path) -> None:
    """They are there as soon as they are sent, however they are cut."""
    data = b'{"text": "a", "ticket": "t"}\n' + json.dumps(RAISED).encode() + b"\n"
    text, raised = told(tmp_path, data[:5], data[5:60], data[60:])
    assert (text, raised.ticket) == (Text("a", "t"), "t")
    assert isinstance(raised, Raised)
    assert raised.failure.line == 1


def test_text_that_is_no_text(tmp_path: Path) -> None:
    """Half of a character is escaped; what is printed may be broken UTF-8."""
    raised = RAISED | {"message": "half \ud800", "file": "\udcff"}
    data = [json.dumps({"text": "\ud800"}), json.dumps({"text": "\udcff"})]
    sent = "".join(f"{line}\n" for line in [*data, json.dumps(raised)])
    half, broken, failed = told(tmp_path, sent.encode())
    assert [half, broken] == [Text(r"\ud800"), Text("\udcff")]
    assert isinstance(failed, Raised)
    assert (failed.failure.message, failed.failure.file) == (r"half \ud800", "\ufffd")


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff\n",
        b"[]\n",
        b"{}\n",
        b"1\n",
        b"[" * 10**5 + b"\n",
        b'{"text": 1}\n',
        b'{"text": "a", "unknown": 1}\n',
        b'{"text": "a", "about": "1"}\n',
        b'{"exception": 1}\n',
        json.dumps(RAISED | {"line": "1"}).encode() + b"\n",
        json.dumps(RAISED | {"printed": None}).encode() + b"\n",
    ],
)
def test_what_is_no_message(tmp_path: Path, garbage: bytes) -> None:
    """An app may send anything; what follows is read."""
    assert told(tmp_path, garbage + b'{"text": "a"}\n') == [Text("a")]
