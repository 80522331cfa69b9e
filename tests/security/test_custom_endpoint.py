"""The endpoints that run tasks, in an app on the dev server."""

import pickletools
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import strategies as st

from tests.security import inputs, straight
from tests.security.inputs import Header, check_many, often, with_one_byte
from tests.servers.contract_app import ContractApp
from tests.servers.embedded import Embedded

DEFERRED = "/_ah/queue/deferred"
ENDPOINTS = st.sampled_from(["/custom/path", DEFERRED])
QUEUE_IP = "0.1.0.2"
FROM_QUEUE = [
    ("X-AppEngine-QueueName", "default"),
    ("X-AppEngine-TaskName", "task1"),
    ("X-AppEngine-User-IP", QUEUE_IP),
]
LABEL = "fuzz"
# what each of these functions, which write down that they run, makes of a request
OUTCOMES = {
    "note": (200, b"Success"),
    "fail": (500, b"Internal Server Error"),
    "fail_for_good": (200, b"PermanentTaskFailure"),
    "fail_this_time": (408, b"SingularTaskFailure"),
}


def is_safe(payload: bytes) -> bool:
    """Tell whether a payload cannot have the unpickler take gigabytes of memory."""
    if b"\x96" in payload:  # the opcode of a bytearray, whose size comes first
        return False
    try:
        for opcode, argument, _ in pickletools.genops(payload):
            if "PUT" in opcode.name and (argument or 0) > 10**6:
                return False
    except Exception:  # noqa: BLE001 - no pickle from here on, for the unpickler too
        pass
    return True


NO_TASKS = st.one_of(
    st.binary(max_size=60),
    st.binary(max_size=40).map(lambda data: b"\x80\x04" + data + b"."),
    st.text("(dtlIS.0123456789\n)", max_size=40).map(str.encode),
).filter(is_safe)


@pytest.fixture
def tasks(app: ContractApp, embedded: Embedded) -> dict[str, bytes]:
    """The payload of a task for each function, as the SDK makes them."""
    embedded.pause("default")
    names = {app.defer(function, LABEL): function for function in OUTCOMES}
    payloads = {names[task.name]: task.payload for task in embedded.tasks()}
    embedded.purge("default")
    embedded.resume("default")
    return payloads


@st.composite
def payloads(draw: st.DrawFn, tasks: dict[str, bytes]) -> tuple[bytes, str | None]:
    """Draw a payload, and the function that it calls if it is in order."""
    kind = draw(st.sampled_from(["right"] * 4 + ["nearly"] * 3 + ["none"]))
    if kind == "none":
        return draw(NO_TASKS), None
    function = draw(st.sampled_from(sorted(tasks)))
    # as long as it was: a pickle may say so
    label = draw(st.text("abcd", min_size=len(LABEL), max_size=len(LABEL)))
    payload = tasks[function].replace(LABEL.encode(), label.encode())
    if kind == "right":
        return payload, function
    return draw(with_one_byte(payload).filter(is_safe)), None


def send(
    address: straight.Address,
    method: str,
    endpoint: str,
    fields: Sequence[Header],
    body: bytes,
) -> bytes:
    """Send a request; return all that comes until the other side hangs up."""
    lines = [f"{method} {endpoint} HTTP/1.1".encode()]
    lines += [b"%s: %s" % field for field in fields]
    lines += [b"Content-Length: %d" % len(body), b"Connection: close"]
    if isinstance(address, Path):
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(address))
    else:
        client = socket.create_connection(address)
    with client:
        client.settimeout(30)
        return straight.exchange(client, b"\r\n".join([*lines, b"", body]))


def status_of(answer: bytes) -> int:
    """Return the status, and check what holds for every answer."""
    assert b"Traceback" not in answer
    answer = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    found = re.match(rb"HTTP/\d\.\d (\d{3}) ", answer)
    assert found, answer
    return int(found[1])


def outcome_of(answer: bytes) -> tuple[int, bytes]:
    """Return the status, and the text if it is one of those that are expected."""
    texts = b"|".join(text for _, text in OUTCOMES.values())
    found = re.search(texts, answer.partition(b"\r\n\r\n")[2])
    return status_of(answer), found[0] if found else b""


def test_from_outside(
    embedded: Embedded, app: ContractApp, tasks: dict[str, bytes]
) -> None:
    """Whatever comes with it, a request from outside runs no task: 4xx or no answer."""
    parts = urlsplit(embedded.url)
    address = (parts.hostname or "", parts.port or 0)

    def check(
        endpoint: str, method: str, fields: list[Header], payload: bytes
    ) -> set[str]:
        fields = [(b"Host", b"localhost"), *fields]
        answer = send(address, method, endpoint, fields, payload)
        status = status_of(answer)
        assert 400 <= status < 500 or (method, status) == ("OPTIONS", 200)
        reached = {"app"} if b"\r\nServer: gunicorn\r\n" in answer else {"refused"}
        return reached | ({"endpoint"} if b"XSRF" in answer else set())

    likely = st.sampled_from([b"task1", b"default", QUEUE_IP.encode(), b"other"])
    forged = st.tuples(inputs.FORGED_NAMES, likely)
    field = often((4, forged), (4, inputs.ORDINARY), (1, inputs.ODD))
    fields = st.lists(field, max_size=4, unique_by=lambda field: field[0])
    methods = st.sampled_from(["POST"] * 6 + ["GET", "HEAD", "PUT", "OPTIONS", "X"])
    bodies = often((3, st.just(tasks["note"])), (1, NO_TASKS))
    drawn = (ENDPOINTS, methods, fields, bodies)
    at_least = {"app": 0.2, "endpoint": 0.1}
    check_many(check, *drawn, at_least=at_least)
    assert app.runs() == []
    assert embedded.get("/counter/get").status == 200


def test_senders(embedded: Embedded, app: ContractApp, tasks: dict[str, bytes]) -> None:
    """A request runs a task only if App Engine itself says that it is from a queue."""
    address = straight.app_address(embedded)

    def check(
        endpoint: str,
        name: str,
        user_ips: list[str],
        remote_addrs: list[str],
        software: bool,
    ) -> set[str]:
        fields = [("Host", "localhost")]
        fields += [("X-AppEngine-TaskName", name)] if name else []
        fields += [("X-AppEngine-User-IP", ip) for ip in user_ips]
        fields += [("X-AppEngine-Remote-Addr", ip) for ip in remote_addrs]
        # dev_appserver.py adds this to what comes by its port, and to no task
        fields += [("X-AppEngine-Server-Software", "Dev")] if software else []
        encoded = [(name.encode(), value.encode()) for name, value in fields]
        answer = send(address, "POST", endpoint, encoded, tasks["note"])
        if status_of(answer) == 403:
            is_task = name and user_ips == [QUEUE_IP] and remote_addrs in ([], user_ips)
            assert not is_task or (software and remote_addrs)
            return {"refused", "forged"} if QUEUE_IP in remote_addrs else {"refused"}
        assert outcome_of(answer) == OUTCOMES["note"]
        assert name
        # nothing but the one address, from each header that says one
        assert [QUEUE_IP] in (user_ips, remote_addrs)
        assert user_ips in ([], [QUEUE_IP])
        assert remote_addrs == [] or not software
        return {"run"}

    ips = st.sampled_from([QUEUE_IP] * 4 + ["0.1.0.3", "0.1.0.20", "127.0.0.1", "::1"])
    given = often((1, st.just([QUEUE_IP])), (1, st.lists(ips, max_size=2)))
    names = often((5, st.text("task-1", min_size=1)), (1, st.just("")))
    software = st.sampled_from([False, False, False, True])
    drawn = (ENDPOINTS, names, given, given, software)
    at_least = {"run": 0.05, "refused": 0.1, "forged": 0.05}
    check_many(check, *drawn, at_least=at_least)


def test_as_a_task(
    embedded: Embedded, app: ContractApp, tasks: dict[str, bytes]
) -> None:
    """Any payload runs, is dropped or fails, in plain words; the app runs on."""
    address = straight.app_address(embedded)
    from_queue = [(name.encode(), value.encode()) for name, value in FROM_QUEUE]
    rights = 0

    def check(endpoint: str, task: tuple[bytes, str | None]) -> set[str]:
        nonlocal rights
        payload, function = task
        fields = [(b"Host", b"localhost"), *from_queue]
        outcome = outcome_of(send(address, "POST", endpoint, fields, payload))
        if function is not None:
            rights += 1
            assert outcome == OUTCOMES[function]
        assert outcome in OUTCOMES.values()
        return {outcome[1].decode()}

    booted = embedded.log().count("Booting worker")
    at_least = {text.decode(): 0.02 for _, text in OUTCOMES.values()}
    check_many(check, ENDPOINTS, payloads(tasks), at_least=at_least)
    # one with a wrong byte may run too, with another label
    assert len(app.runs()) >= rights
    assert embedded.get("/counter/get").status == 200
    assert embedded.log().count("Booting worker") == booted
