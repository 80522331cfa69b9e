"""Many drawn requests to the endpoints that run tasks."""

import pickletools
import re

import pytest
from hypothesis import strategies as st

from tests.routes import HANDLERS
from tests.security import inputs
from tests.security.inputs import Header, check_many, often, with_one_byte
from tests.servers.contract_app import ContractApp
from tests.servers.embedded import Embedded
from tests.servers.raw import app_address, send, server_address

ENDPOINTS = st.sampled_from(HANDLERS)
QUEUE_IP = "0.1.0.2"
FROM_QUEUE = [
    (b"Host", b"localhost"),
    (b"X-AppEngine-QueueName", b"default"),
    (b"X-AppEngine-TaskName", b"task1"),
    (b"X-AppEngine-User-IP", QUEUE_IP.encode()),
]
LABEL = "fuzz"
# each of these functions records that it runs; the answer that a task with it gets
OUTCOMES = {
    "note": (200, b"Success"),
    "fail": (500, b"Internal Server Error"),
    "fail_for_good": (200, b"PermanentTaskFailure"),
    "fail_this_time": (408, b"SingularTaskFailure"),
}


def is_safe(payload: bytes) -> bool:
    """Tell whether the unpickler cannot use gigabytes of memory for a payload."""
    if b"\x96" in payload:  # the opcode of a bytearray, whose size comes first
        return False
    try:
        for opcode, argument, _ in pickletools.genops(payload):
            if "PUT" in opcode.name and (argument or 0) > 10**6:
                return False
    except Exception:  # noqa: BLE001 - the unpickler does not read on either
        pass
    return True


NO_TASKS = st.one_of(
    st.binary(max_size=60),
    st.binary(max_size=40).map(lambda data: b"\x80\x04" + data + b"."),
    st.text("(dtlIS.0123456789\n)", max_size=40).map(str.encode),
).filter(is_safe)


@pytest.fixture
def tasks(app: ContractApp, embedded: Embedded) -> dict[str, bytes]:
    """The payload of a task for each function, as the SDK makes it."""
    embedded.pause("default")
    names = {app.defer(function, LABEL): function for function in OUTCOMES}
    payloads = {names[task.name]: task.payload for task in embedded.tasks()}
    embedded.purge("default")
    embedded.resume("default")
    return payloads


@st.composite
def payloads(draw: st.DrawFn, tasks: dict[str, bytes]) -> tuple[bytes, str | None]:
    """Draw a payload, and the function that it calls if it is valid."""
    kind = draw(st.sampled_from(["right"] * 4 + ["nearly"] * 3 + ["none"]))
    if kind == "none":
        return draw(NO_TASKS), None
    function = draw(st.sampled_from(sorted(tasks)))
    # of the same length: a pickle may contain the length
    label = draw(st.text("abcd", min_size=len(LABEL), max_size=len(LABEL)))
    payload = tasks[function].replace(LABEL.encode(), label.encode())
    if kind == "right":
        return payload, function
    return draw(with_one_byte(payload).filter(is_safe)), None


def status_of(answer: bytes) -> int:
    """Return the status; check what all answers must have."""
    assert b"Traceback" not in answer
    answer = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    found = re.match(rb"HTTP/\d\.\d (\d{3}) ", answer)
    assert found, answer
    return int(found[1])


def outcome_of(answer: bytes) -> tuple[int, bytes]:
    """Return the status, and the text if it is one of OUTCOMES."""
    texts = b"|".join(text for _, text in OUTCOMES.values())
    found = re.search(texts, answer.partition(b"\r\n\r\n")[2])
    return status_of(answer), found[0] if found else b""


def test_from_outside(
    embedded: Embedded, app: ContractApp, tasks: dict[str, bytes]
) -> None:
    """No request from outside runs a task: it gets 4xx, or OPTIONS gets 200."""
    address = server_address(embedded)

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
    """A request runs a task only if all headers say that the queue sent it."""
    address = app_address(embedded)

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
        # dev_appserver.py adds this to what arrives at its port, and to no task
        fields += [("X-AppEngine-Server-Software", "Dev")] if software else []
        encoded = [(name.encode(), value.encode()) for name, value in fields]
        answer = send(address, "POST", endpoint, encoded, tasks["note"])
        if status_of(answer) == 403:
            is_task = name and user_ips == [QUEUE_IP] and remote_addrs in ([], user_ips)
            assert not is_task or (software and remote_addrs)
            return {"refused", "forged"} if QUEUE_IP in remote_addrs else {"refused"}
        assert outcome_of(answer) == OUTCOMES["note"]
        assert name
        # each header that has an address has the queue's
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
    """Any payload of a task runs, is dropped or fails; no worker of the app dies."""
    address = app_address(embedded)
    rights = 0

    def check(endpoint: str, task: tuple[bytes, str | None]) -> set[str]:
        nonlocal rights
        payload, function = task
        outcome = outcome_of(send(address, "POST", endpoint, FROM_QUEUE, payload))
        if function is not None:
            rights += 1
            assert outcome == OUTCOMES[function]
        assert outcome in OUTCOMES.values()
        return {outcome[1].decode()}

    booted = embedded.log().count("Booting worker")
    at_least = {text.decode(): 0.02 for _, text in OUTCOMES.values()}
    check_many(check, ENDPOINTS, payloads(tasks), at_least=at_least)
    # a payload with a wrong byte may run too, with another label
    assert len(app.runs()) >= rights
    assert embedded.get("/counter/get").status == 200
    assert embedded.log().count("Booting worker") == booted
