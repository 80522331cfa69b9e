"""A pickle from outside is never loaded, whatever headers come with it.

The payload makes a folder as soon as it is unpickled. On dev_appserver.py, which lets
most of it through, the app's own defence is what refuses.
"""

import itertools
import pathlib
import re
import socket
from collections.abc import Callable, Iterator

import pytest

from tests.apps.payloads import trap
from tests.security import straight
from tests.servers.base import Server

ENDPOINTS = ("/_ah/queue/deferred", "/custom/path")

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

Headers = list[tuple[str, str]]


def combinations() -> Iterator[dict[str, str]]:
    """Yield every set of the forged headers, the empty one too."""
    for number in range(len(FORGED) + 1):
        for chosen in itertools.combinations(FORGED.items(), number):
            yield dict(chosen)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_through_the_front(
    victim: Server, endpoint: str, spelling: str, tmp_path: pathlib.Path
) -> None:
    """403 for each forged header and each combination; nothing is unpickled."""
    made = tmp_path / "made"
    for forged in combinations():
        headers = [
            ("Content-Type", "application/octet-stream"),
            *((SPELLINGS[spelling](name), value) for name, value in forged.items()),
        ]
        answer = victim.post(endpoint, trap(made), headers)
        assert answer.status == 403, forged
        assert not made.exists(), forged


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_through_the_front_in_pieces(
    victim: Server, endpoint: str, tmp_path: pathlib.Path
) -> None:
    """Nor with a chunked body, repeated headers, or headers in its trailer."""
    made = tmp_path / "made"
    payload = trap(made)
    chunk = b"%x\r\n%s\r\n0\r\n" % (len(payload), payload)
    lines = "".join(f"{name}: {value}\r\n" for name, value in FORGED.items()).encode()
    host, port = re.fullmatch(r"http://(.*):(\d+)", victim.url).groups()  # type: ignore[union-attr]
    for head, trailer in ((lines * 2, b""), (b"", lines), (lines, lines)):
        request = (
            f"POST {endpoint} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n"
            "Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n"
        ).encode()
        data = request + head + b"\r\n" + chunk + trailer + b"\r\n"
        with socket.create_connection((host, int(port)), timeout=30) as client:
            assert re.match(rb"HTTP/1\.[01] [45]\d\d ", straight.exchange(client, data))
        assert not made.exists()


# --- straight to the app -------------------------------------------------------------


@pytest.fixture
def app_address(victim: Server) -> straight.Address:
    """Where gunicorn listens: on dev_appserver.py at a TCP port."""
    return straight.app_address(victim)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_straight_to_the_app(
    app_address: straight.Address, endpoint: str, tmp_path: pathlib.Path
) -> None:
    """403 for whoever lacks the task's name, or both forms of the queue's address.

    With these, nothing tells a request from a task: on the embedded server only this
    user can open the socket, and SECURITY.md says what that means on dev_appserver.py.
    """
    made = tmp_path / "made"
    for forged in combinations():
        if "X-AppEngine-TaskName" in forged and (
            "X-AppEngine-User-IP" in forged or "X-AppEngine-Remote-Addr" in forged
        ):
            continue  # test_the_payload_is_an_attack shows what happens then
        assert straight.post(app_address, endpoint, forged, trap(made)) == 403, forged
        assert not made.exists(), forged


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_the_payload_is_an_attack(
    app_address: straight.Address, endpoint: str, tmp_path: pathlib.Path
) -> None:
    """With all that App Engine sends, it is unpickled: so the others can fail."""
    made = tmp_path / "made"
    straight.post(app_address, endpoint, FORGED, trap(made))
    assert made.is_dir()
