"""The port for Cloud NDB: random bytes, and requests with random contents."""

import logging
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.cloud.datastore_v1.types import datastore as datastore_pb
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.conftest import Reached
from tests.fuzz.messages import TEXTS, Style, messages
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
STYLE = Style(
    depth=7,
    known={
        # Nearly always right, so that most requests get past the first checks.
        "project_id": [PROJECT] * 40 + ["", "other", "é"],
        "database_id": [""] * 40 + ["other", "(default)", "Ä"],
        "namespace_id": [""] * 10 + ["n", "a b", "é"],
        "kind": ["a"] * 40 + TEXTS,
        "name": ["a"] * 40 + ["b"] * 20 + ["__key__"] * 4 + TEXTS,
        "id": [1] * 10 + [2] * 10 + [0, -1, 2**63 - 1, -(2**63)],
        "alias": ["", "", "a", "b", "__a__"],
        "transaction": [b"", b"1", b"-1", b"\xff", "²".encode(), b"9" * 30],
        "previous_transaction": [b"", b"1", b"9" * 30],
        "start_cursor": [b"", b"", b"", b"x", b"\x08\x01"],
        "end_cursor": [b"", b"", b"", b"x", b"\x08\x01"],
        "seconds": [0, 1, -1, 2**31, 253402300799, 2**63 - 1, -(2**63)],
        "nanos": [0, 1, 999_999_999, -1, 2**31 - 1],
    },
    # Without these, most requests are refused.
    usual=[
        "project_id",
        "path",
        "kind",
        "name",
        "key",
        "keys",
        "op",
        "property",
        "value",
        "mutations",
        "aggregations",
        "nested_query",
        "mode",
        "filters",
    ],
    # With these, most requests are refused at once.
    rare=[
        "gql_query",
        "read_time",
        "find_nearest",
        "base_version",
        "update_time",
        "database_id",
    ],
)
Status = grpc.StatusCode
EXPECTED = {
    Status.OK,
    Status.INVALID_ARGUMENT,
    Status.NOT_FOUND,
    Status.ALREADY_EXISTS,
    Status.ABORTED,
    Status.FAILED_PRECONDITION,
    Status.PERMISSION_DENIED,
    Status.UNIMPLEMENTED,
}
"""The answers of the service. INTERNAL would be a bug, DEADLINE_EXCEEDED a hang."""


Call = tuple[str, Message]


def request_class(rpc: str) -> Any:
    """Return the class of an RPC's request."""
    return getattr(datastore_pb, f"{rpc}Request").pb()


@st.composite
def calls(draw: st.DrawFn) -> Call:
    """Draw an RPC and a request."""
    rpc = draw(st.sampled_from([*RPCS, "RunQuery", "Commit", "Commit"]))
    request = draw(messages(request_class(rpc), STYLE))
    if rpc == "Commit" and draw(st.booleans()):
        # Otherwise most requests would fail because these two do not agree.
        request.ClearField(request.WhichOneof("transaction_selector") or "mode")
        request.mode = request.NON_TRANSACTIONAL
    return rpc, request


class Port:
    """A server, and a client that checks every answer."""

    def __init__(self) -> None:
        self.running = RunningDatastore()
        self._raw = RawClient(self.running.host)

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
            database = request_class(rpc).FromString(data).database_id
            self._end(getattr(response, "transaction", b""), database)
        return status

    def begin(self) -> bytes:
        """Return the id of a new transaction, which has read an entity."""
        transaction = self._raw.call("BeginTransaction").transaction
        options = {"transaction": transaction}
        self._raw.call("Lookup", keys=[key("a", 1)], read_options=options)
        return transaction

    def _end(self, transaction: bytes, database: str = "") -> None:
        if transaction:
            fields = {"transaction": transaction, "database_id": database}
            self._raw.call("Rollback", **fields)

    def finish(self, transaction: bytes = b"") -> None:
        """End a transaction; check that no other one is open and no lock is held."""
        self._end(transaction)
        assert self.running.is_idle()

    def stop(self) -> None:
        """Check that an ordinary entity is stored and found, and stop the server."""
        try:
            self._raw.upsert(entity(key("Usual", "x"), count=1))
            assert len(self._raw.run("Usual").entity_results) == 1
        finally:
            self._raw.close()
            self.running.stop()


@pytest.fixture
def port(caplog: pytest.LogCaptureFixture) -> Iterator[Port]:
    """A server that still works after the test."""
    port = Port()
    yield port
    port.stop()
    # A traceback in the log is a bug too.
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


@given(rpc=st.sampled_from(RPCS), data=st.binary(max_size=200))
def test_any_bytes(port: Port, rpc: str, data: bytes) -> None:
    """Random bytes are refused, or answered if they happen to be a request."""
    port.send(rpc, data)
    port.finish()


@pytest.mark.reaches(INVALID_ARGUMENT=0.3)
@given(call=calls(), part=st.floats(0, 1), byte=st.binary(min_size=1, max_size=1))
def test_half_a_message(
    port: Port, reached: Reached, call: Call, part: float, byte: bytes
) -> None:
    """A request that ends early, or has one wrong byte, leaves nothing behind."""
    rpc, request = call
    data = request.SerializeToString()
    place = int(part * len(data))
    half = port.send(rpc, data[:place])
    other = port.send(rpc, data[:place] + byte + data[place + 1 :])
    port.finish()
    reached(*{half.name, other.name})


@pytest.mark.reaches(OK=0.05)
@settings(max_examples=5 * settings().max_examples)
@given(call=calls(), in_transaction=st.booleans())
def test_any_message(
    port: Port, reached: Reached, call: Call, in_transaction: bool
) -> None:
    """Requests with random contents of the right types, also in a transaction."""
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
    reached(status.name)


@pytest.mark.parametrize("rpc", RPCS)
def test_default_message(port: Port, rpc: str) -> None:
    """Every RPC answers an empty message, and one with only a project."""
    port.send(rpc, b"")
    port.send(rpc, request_class(rpc)(project_id=PROJECT).SerializeToString())
    port.finish()


@given(
    name=st.text("abL/_.-%2f", max_size=12).filter(lambda name: name not in RPCS),
    data=st.binary(max_size=40),
)
def test_unknown_methods(port: Port, name: str, data: bytes) -> None:
    """A method that the service does not have is UNIMPLEMENTED, whatever its name."""
    assert port.send(name, data) is Status.UNIMPLEMENTED
