"""The port of Cloud NDB: random bytes, and calls with random contents."""

import logging
from collections.abc import Iterator

import grpc
import pytest
from google.cloud.datastore_v1.types import datastore as datastore_pb
from hypothesis import strategies as st

from tests.fuzz.conftest import Fuzz
from tests.fuzz.messages_v1 import contents
from tests.helpers.calls import PROJECT, Message
from tests.helpers.datastore_v1 import RawClient, entity, key
from tests.helpers.running_datastore import RunningDatastore

RPCS = [
    *("Lookup", "RunQuery", "RunAggregationQuery", "BeginTransaction", "Commit"),
    *("Rollback", "AllocateIds", "ReserveIds"),
]
Status = grpc.StatusCode
EXPECTED = {
    *(Status.OK, Status.INVALID_ARGUMENT, Status.NOT_FOUND, Status.ALREADY_EXISTS),
    *(Status.ABORTED, Status.PERMISSION_DENIED, Status.UNIMPLEMENTED),
}
"""What the service may answer. INTERNAL is not there: a bug of ours would be that."""


def request_class(rpc: str) -> Message:
    """Return the plain protocol buffer that an RPC takes."""
    return getattr(datastore_pb, f"{rpc}Request").pb()


class Port:
    """A server, and a client that checks what holds for every answer."""

    def __init__(self) -> None:
        self.running = RunningDatastore()
        self._raw = RawClient(self.running.host)

    def stop(self) -> None:
        """Hang up and stop the server."""
        self._raw.close()
        self.running.stop()

    def send(self, rpc: str, data: bytes) -> grpc.StatusCode:
        """Make a call; no lock is left and no transaction that nobody knows of."""
        try:
            answer, status, text = self._raw.bytes(rpc, data), Status.OK, ""
        except grpc.RpcError as error:
            answer, status, text = b"", error.code(), error.details() or ""
        # DEADLINE_EXCEEDED would be a call that hangs
        assert status in EXPECTED, f"{rpc}: {status} {text}"
        assert "Traceback" not in text
        if status is not Status.OK:
            assert text
        elif rpc in RPCS:
            response = getattr(datastore_pb, f"{rpc}Response").pb().FromString(answer)
            self._end(getattr(response, "transaction", b""))
        return status

    def begin(self) -> bytes:
        """Return the id of a new transaction, which has read an entity."""
        transaction: bytes = self._raw.call("BeginTransaction").transaction
        options = {"transaction": transaction}
        self._raw.call("Lookup", keys=[key("a", 1)], read_options=options)
        return transaction

    def _end(self, transaction: bytes) -> None:
        if transaction:
            self._raw.call("Rollback", transaction=transaction)

    def finish(self, transaction: bytes = b"") -> None:
        """End a transaction that was begun; check that this was the only one."""
        self._end(transaction)
        assert self.running.do(self._left) == ([], [])

    def _left(self) -> tuple[list[int], list[bytes]]:
        server = self.running.server
        databases = server._databases._databases.values()
        locks = [group for one in databases for group in one.locks._locks]
        return list(server._transactions._open), locks

    def still_works(self) -> None:
        """Check that a usual entity is stored and found."""
        self._raw.upsert(entity(key("Usual", "x"), count=1))
        assert len(self._raw.run("Usual").entity_results) == 1


@pytest.fixture
def port(caplog: pytest.LogCaptureFixture) -> Iterator[Port]:
    """A server with an entity."""
    port = Port()
    yield port
    port.still_works()
    port.stop()
    # a traceback in the log is a bug too
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


def test_any_bytes(port: Port, fuzz: Fuzz) -> None:
    """What is no request is refused, and what is one by chance is answered."""

    def check(rpc: str, data: bytes) -> None:
        port.send(rpc, data)
        port.finish()

    fuzz("datastore_v1: bytes", check, st.sampled_from(RPCS), st.binary(max_size=200))


def test_half_a_message(port: Port, fuzz: Fuzz) -> None:
    """A request that ends early, or has one wrong byte, leaves nothing behind."""

    def check(call: tuple[str, Message], part: float, byte: int) -> set[str]:
        rpc, request = call
        data = bytearray(request.SerializeToString())
        place = int(part * len(data))
        half = port.send(rpc, bytes(data[:place]))
        data[place : place + 1] = bytes([byte])
        other = port.send(rpc, bytes(data))
        port.finish()
        return {half.name, other.name}

    drawn = (calls(), st.floats(0, 1), st.integers(0, 255))
    fuzz("datastore_v1: half", check, *drawn, at_least={"INVALID_ARGUMENT": 0.3})


def test_any_message(port: Port, fuzz: Fuzz) -> None:
    """Requests with contents that fit the types, alone and in a transaction."""

    def check(call: tuple[str, Message], in_transaction: bool) -> set[str]:
        rpc, request = call
        transaction = port.begin() if in_transaction else b""
        if in_transaction:
            if rpc in ("Commit", "Rollback"):
                request.transaction = transaction
                if rpc == "Commit":
                    request.mode = request.TRANSACTIONAL
            elif "read_options" in request.DESCRIPTOR.fields_by_name:
                request.read_options.transaction = transaction
        status = port.send(rpc, request.SerializeToString())
        port.finish(transaction)
        return {status.name}

    fuzz("datastore_v1: messages", check, calls(), st.booleans(), at_least={"OK": 0.05})


@pytest.mark.parametrize("rpc", RPCS)
def test_default_message(port: Port, rpc: str) -> None:
    """Every RPC answers a message with nothing in it, or with a project only."""
    port.send(rpc, b"")
    port.send(rpc, request_class(rpc)(project_id=PROJECT).SerializeToString())
    port.finish()


def test_unknown_methods(port: Port, fuzz: Fuzz) -> None:
    """What the service does not have is UNIMPLEMENTED, whatever it is called."""

    def check(name: str, data: bytes) -> None:
        assert port.send(name, data) is Status.UNIMPLEMENTED

    names = st.text("abL/_.-%2f", max_size=12).filter(lambda name: name not in RPCS)
    fuzz("datastore_v1: methods", check, names, st.binary(max_size=40))


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, Message]:
    """Draw an RPC and a request for it."""
    rpc = draw(st.sampled_from([*RPCS, "RunQuery", "Commit", "Commit"]))
    request = request_class(rpc)()
    draw(contents(request))
    if rpc == "Commit" and draw(st.booleans()):
        # else few requests would get beyond the check that these two agree
        request.mode = request.NON_TRANSACTIONAL
        request.ClearField(request.WhichOneof("transaction_selector") or "mode")
        request.mode = request.NON_TRANSACTIONAL
    return rpc, request
