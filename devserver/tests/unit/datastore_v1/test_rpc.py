"""google.datastore.v1.Datastore on the wire: broken requests, faults, logs, port."""

import logging
import re
from typing import Any

import grpc
import pytest

from gae_devserver.storage.storage import StorageError
from gae_devserver.testing import wait_until
from tests.helpers.command import run_python
from tests.helpers.datastore_v1 import RawClient, entity, key
from tests.helpers.running_datastore import RunningDatastore

Status = grpc.StatusCode


def test_a_call_past_its_deadline_is_not_carried_out(running: RunningDatastore) -> None:
    """A client that waits for a nanosecond gets DEADLINE_EXCEEDED, every time."""
    with grpc.insecure_channel(running.host) as channel:
        lookup: Any = channel.unary_unary("/google.datastore.v1.Datastore/Lookup")
        for timeout in [1e-9] * 30:
            with pytest.raises(grpc.RpcError) as error:
                lookup(b"", timeout=timeout)
            assert error.value.code() == Status.DEADLINE_EXCEEDED


GQL = {"gql_query": {"query_string": "SELECT *"}}


@pytest.mark.parametrize(
    ("rpc", "fields", "name"),
    [
        ("RunQuery", GQL, "gql_query"),
        ("RunQuery", {"query": {"find_nearest": {}}}, "find_nearest"),
        ("RunAggregationQuery", GQL, "gql_query"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_what_is_missing_says_so(
    raw: RawClient, rpc: str, fields: Any, name: str
) -> None:
    """A missing part of the API is UNIMPLEMENTED, by name, and changes nothing."""
    raw.upsert(entity(key("B", 1)))
    code, text = raw.error(rpc, **fields)
    assert (code, name in text) == (Status.UNIMPLEMENTED, True)
    assert raw.call("Lookup", keys=[key("A", 1)]).missing


@pytest.mark.parametrize("rpc", ["RunQuery", "RunAggregationQuery"])
def test_a_request_without_a_query_is_refused(raw: RawClient, rpc: str) -> None:
    """A query of either kind has to be there."""
    assert raw.error(rpc)[0] == Status.INVALID_ARGUMENT


# --- faults and logs -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "shown"),
    [(ZeroDivisionError("the reason"), False), (StorageError("the reason"), True)],
    ids=["bug", "full-disk"],
)
def test_a_fault_in_the_server_is_internal(
    caplog: pytest.LogCaptureFixture, fault: Exception, shown: bool
) -> None:
    """A bug has its traceback in the log alone; what cannot be stored has a reason."""

    def fail(rpc: str) -> None:
        raise fault

    running = RunningDatastore(before_answer=fail)
    client = RawClient(running.host)
    try:
        code, text = client.error("Lookup", keys=[key("A", 1)])
    finally:
        client.close()
        running.stop()
    assert (code, "the reason" in text) == (Status.INTERNAL, shown)
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert "Datastore.Lookup" in record.getMessage()
    assert "the reason" in caplog.text
    assert ("Traceback" in caplog.text) is not shown


def test_debug_shows_each_call(
    raw: RawClient, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the time that a call took, also of one that fails."""
    with caplog.at_level(logging.DEBUG, logger="gae_devserver"):
        raw.call("Lookup", keys=[key("A", 1)])
        raw.error("Lookup", keys=[key("A")])
        shown = re.compile(r"API call Datastore\.Lookup \d+\.\d ms")

        def calls() -> int:
            return sum(bool(shown.fullmatch(message)) for message in caplog.messages)

        # The client gets the error before the server logs it.
        wait_until(lambda: calls() == 2, "both calls in the log")


# --- imports ---------------------------------------------------------------------


def test_the_client_library_is_not_imported() -> None:
    """The server imports only the messages; a later import still gets the client."""
    code = """
import sys
import gae_devserver.datastore_v1.server
assert "google.cloud.datastore_v1.types" in sys.modules
assert "google.cloud.datastore_v1.services" not in sys.modules
from google.cloud import ndb
assert "google.cloud.datastore_v1.services" in sys.modules
print(ndb.Key("A", 1, project="p", namespace="", database="").to_legacy_urlsafe("s~"))
"""
    done = run_python("-W", "ignore", "-c", code)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("letter", ["a", "\u00e9"])
def test_an_error_about_something_long_has_its_code(
    raw: RawClient, letter: str
) -> None:
    """It begins with what is wrong, and ends before it is too large for clients."""
    long = key(*("K", letter * 700) * 100)
    changes = [{"update": entity(long)}]
    code, text = raw.error("Commit", mode=2, mutations=changes)
    assert (code, letter in text) == (grpc.StatusCode.NOT_FOUND, True)
