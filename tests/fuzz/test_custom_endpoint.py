"""The endpoints that run tasks, in an app on the dev server."""

import re
import socket
from urllib.parse import urlsplit

from hypothesis import strategies as st

from tests.fuzz.conftest import Fuzz
from tests.fuzz.headers import ODD, Header
from tests.security import straight
from tests.servers.embedded import Embedded

ENDPOINTS = st.sampled_from(["/custom/path", "/_ah/queue/deferred"])
# with these the front may rightly wait for more than is sent
FRAMING = {"expect", "content-length", "transfer-encoding"}
FROM_QUEUE = {
    "X-AppEngine-QueueName": "default",
    "X-AppEngine-TaskName": "task1",
    "X-AppEngine-User-IP": "0.1.0.2",
}
# no "r": with this opcode four random bytes can have the unpickler take gigabytes
PAYLOADS = st.one_of(
    st.binary(max_size=60),
    st.binary(max_size=40).map(lambda data: b"\x80\x04" + data + b"."),
    st.text("(dtlIS.0123456789\n)", max_size=40).map(str.encode),
).map(lambda data: data.replace(b"r", b"q"))


def test_from_outside(embedded: Embedded, fuzz: Fuzz) -> None:
    """Whatever comes with it, a request from outside runs no task: 4xx or no answer."""
    parts = urlsplit(embedded.url)
    address = (parts.hostname or "", parts.port or 0)

    def check(endpoint: str, method: str, headers: list[Header], body: bytes) -> None:
        lines = [
            f"{method} {endpoint} HTTP/1.1",
            "Host: localhost",
            "Connection: close",
            f"Content-Length: {len(body)}",
        ]
        encoded = [*map(str.encode, lines), *(b"%s: %s" % field for field in headers)]
        head = b"\r\n".join([*encoded, b"", b""])
        with socket.create_connection(address, timeout=30) as client:
            answer = straight.exchange(client, head + body)
        assert b"Traceback" not in answer
        assert re.match(rb"HTTP/\d\.\d (4\d\d|200) ", answer), answer
        if answer.split()[1] == b"200":
            assert method == "OPTIONS"

    methods = st.sampled_from(["POST", "POST", "GET", "HEAD", "PUT", "OPTIONS", "X"])
    headers = st.lists(
        ODD.filter(lambda field: field[0].lower().decode("latin-1") not in FRAMING),
        max_size=3,
    )
    fuzz("endpoint: from outside", check, ENDPOINTS, methods, headers, PAYLOADS)
    assert embedded.get("/counter/get").status == 200


def test_as_a_task(embedded: Embedded, fuzz: Fuzz) -> None:
    """Any payload is dropped or fails, in plain words; the app runs on."""
    path = straight.app_address(embedded)

    def check(endpoint: str, payload: bytes) -> None:
        assert straight.post(path, endpoint, FROM_QUEUE, payload) in (200, 500)

    booted = embedded.log().count("Booting worker")
    fuzz("endpoint: payloads", check, ENDPOINTS, PAYLOADS)
    assert embedded.get("/counter/get").status == 200
    assert embedded.log().count("Booting worker") == booted
