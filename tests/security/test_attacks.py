"""A pickle from outside is never loaded, whatever headers come with it.

The payload makes a folder as soon as it is unpickled. dev_appserver.py lets most of the
forged headers through, so there the app's own guard must refuse them.
"""

import itertools
import pathlib
import re
from collections.abc import Callable, Iterator

import pytest

from tests.apps.payloads import trap
from tests.routes import HANDLERS
from tests.security import straight
from tests.servers.base import Server

FORGED = {
    "X-AppEngine-TaskName": "task1",
    "X-AppEngine-QueueName": "default",
    "X-AppEngine-User-IP": "0.1.0.2",
    "X-AppEngine-Remote-Addr": "0.1.0.2",
    "X-AppEngine-Cron": "true",
    "X-AppEngine-Api-Ticket": "0" * 32,
}
SPELLINGS: dict[str, Callable[[str], str]] = {
    "documented": str,
    "upper case": str.upper,
    "underscores": lambda name: name.replace("-", "_"),
}


def combinations() -> Iterator[tuple[tuple[str, str], ...]]:
    """Yield every set of the forged headers, and no header."""
    for number in range(len(FORGED) + 1):
        yield from itertools.combinations(FORGED.items(), number)


@pytest.mark.parametrize("endpoint", HANDLERS)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_through_the_front(
    victim: Server, endpoint: str, spelling: str, tmp_path: pathlib.Path
) -> None:
    """Each combination of forged headers gets 403; nothing is unpickled."""
    made = tmp_path / "made"
    for forged in combinations():
        headers = [
            ("Content-Type", "application/octet-stream"),
            *((SPELLINGS[spelling](name), value) for name, value in forged),
        ]
        answer = victim.post(endpoint, trap(made), headers)
        assert answer.status == 403, forged
        assert not made.exists(), forged


@pytest.mark.parametrize("endpoint", HANDLERS)
def test_through_the_front_in_pieces(
    victim: Server, endpoint: str, tmp_path: pathlib.Path
) -> None:
    """A chunked body, repeated headers or headers in a trailer do not help either."""
    made = tmp_path / "made"
    payload = trap(made)
    chunk = b"%x\r\n%s\r\n0\r\n" % (len(payload), payload)
    lines = "".join(f"{name}: {value}\r\n" for name, value in FORGED.items()).encode()
    for head, trailer in ((lines * 2, b""), (b"", lines), (lines, lines)):
        request = (
            f"POST {endpoint} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            "Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n"
        ).encode()
        data = request + head + b"\r\n" + chunk + trailer + b"\r\n"
        answer = straight.exchange(straight.server_address(victim), data)
        assert re.match(rb"HTTP/1\.[01] [45]\d\d ", answer)
        assert not made.exists()


@pytest.mark.parametrize("endpoint", HANDLERS)
def test_the_payload_is_an_attack(
    victim: Server, endpoint: str, tmp_path: pathlib.Path
) -> None:
    """Sent straight to the app, with the headers of a task, the payload is loaded.

    On the embedded server only this user can open the app's socket; SECURITY.md says
    what this means on dev_appserver.py.
    """
    made = tmp_path / "made"
    fields = [(name.encode(), value.encode()) for name, value in FORGED.items()]
    fields.append((b"Host", b"localhost"))

    straight.send(straight.app_address(victim), "POST", endpoint, fields, trap(made))

    assert made.is_dir()
