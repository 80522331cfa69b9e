"""The port for Cloud NDB: random bytes, and requests with random contents."""

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
    "Lookup",
    "RunQuery",
    "RunAggregationQuery",
    "BeginTransaction",
    "Commit",
    "Rollback",
    "AllocateIds",
    "ReserveIds",
]
Status = grpc.StatusCode
EXPECTED = {
    Status.OK,
    Status.INVALID_ARGUMENT,
    Status.NOT_FOUND,
    Status.ALREADY_EXISTS,
    Status.ABORTED,
    Status.PERMISSION_DENIED,
    Status.UNIMPLEMENTED,
}
"""The answers of the service. INTERNAL would be a bug, DEADLINE_EXCEEDED a hang."""


def request_class(rpc: str) -> Message:
    """Return the class of an RPC's request."""
    return getattr(datastore_pb, f"{rpc}Request").pb()


class Port:
    """A server, and a client that checks every answer."""

    def __init__(self) -> None:
        self.running = RunningDatastore()
        self._raw = RawClient(self.running.host)

    def stop(self) -> None:
        """Close the connection and stop the server."""
        self._raw.close()
        self.running.stop()

    def send(self, rpc: str, data: bytes) -> grpc.StatusCode:
        """Make a call, check its answer, and end the transaction that it begins."""
        try:
            answer, status, text = self._raw.bytes(rpc, data), Status.OK, ""
        except grpc.RpcError as error:
            answer, status, text = b"", error.code(), error.details() or ""
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
        transaction = self._raw.call("BeginTransaction").transaction
        options = {"transaction": transaction}
        self._raw.call("Lookup", keys=[key("a", 1)], read_options=options)
        return transaction

    def _end(self, transaction: bytes) -> None:
        if transaction:
            self._raw.call("Rollback", transaction=transaction)

    def finish(self, transaction: bytes = b"") -> None:
        """End a transaction; check that no other one is open and no lock is held."""
        self._end(transaction)
        assert self.running.is_idle()

    def still_works(self) -> None:
        """Check that an ordinary entity is stored and found."""
        self._raw.upsert(entity(key("Usual", "x"), count=1))
        assert len(self._raw.run("Usual").entity_results) == 1


@pytest.fixture
def port(caplog: pytest.LogCaptureFixture) -> Iterator[Port]:
    """A server that still works after the test."""
    port = Port()
    yield port
    port.still_works()
    port.stop()
    # A traceback in the log is a bug too.
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


def test_any_bytes(port: Port, fuzz: Fuzz) -> None:
    """Random bytes are refused, or answered if they happen to be a request."""

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
    """Requests with random contents of the right types, also in a transaction."""

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
    """Every RPC answers an empty message, and one with only a project."""
    port.send(rpc, b"")
    port.send(rpc, request_class(rpc)(project_id=PROJECT).SerializeToString())
    port.finish()


def test_unknown_methods(port: Port, fuzz: Fuzz) -> None:
    """A method that the service does not have is UNIMPLEMENTED, whatever its name."""

    def check(name: str, data: bytes) -> None:
        assert port.send(name, data) is Status.UNIMPLEMENTED

    names = st.text("abL/_.-%2f", max_size=12).filter(lambda name: name not in RPCS)
    fuzz("datastore_v1: methods", check, names, st.binary(max_size=40))


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, Message]:
    """Draw an RPC and a request."""
    rpc = draw(st.sampled_from([*RPCS, "RunQuery", "Commit", "Commit"]))
    request = request_class(rpc)()
    draw(contents(request))
    if rpc == "Commit" and draw(st.booleans()):
        # Otherwise most requests would fail because these two do not agree.
        request.ClearField(request.WhichOneof("transaction_selector") or "mode")
        request.mode = request.NON_TRANSACTIONAL
    return rpc, request
