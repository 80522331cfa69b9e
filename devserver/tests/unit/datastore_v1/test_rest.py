"""The Datastore over HTTP/1.1: with protocol buffers, with JSON, and for libraries."""

import gzip
import http.client
import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import grpc
import pytest
from google.cloud.datastore_v1.types import datastore as datastore_pb
from google.protobuf import json_format
from google.rpc import status_pb2

from tests.helpers.calls import PROJECT
from tests.helpers.command import run_python
from tests.helpers.datastore_v1 import (
    RawClient,
    entity,
    key,
    query_fields,
    value,
)
from tests.helpers.running_datastore import RunningDatastore

JSON = "application/json"
PROTOBUF = "application/x-protobuf"
ITEM = entity(
    key("K", 1, "L", "a"),
    empty=None,
    number=2**60,
    double=float("nan"),
    blob=b"\0\xff",
    text="é\n",
    array=[1, key("K", 2)],
    inner=entity(None, n=value(1, exclude_from_indexes=True)),
)


class Answer(NamedTuple):
    """An answer of the port."""

    status: int
    media_type: str
    body: bytes

    def message(self, rpc: str) -> Any:
        """Return the message of a success."""
        assert self.status == 200, self.body
        response_class = getattr(datastore_pb, f"{rpc}Response").pb()
        if self.media_type == JSON:
            return json_format.Parse(self.body, response_class())
        return response_class.FromString(self.body)

    def error(self) -> tuple[int, str]:
        """Return the code and the text of an error."""
        if self.media_type == JSON:
            content = json.loads(self.body)["error"]
            assert content["code"] == self.status
            return grpc.StatusCode[content["status"]].value[0], content["message"]
        status = status_pb2.Status.FromString(self.body)
        return status.code, status.message


class HttpClient:
    """Sends requests to the address of a datastore."""

    def __init__(self, host: str) -> None:
        self._host = host

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """Send a request; the names of headers have "_" in place of "-"."""
        connection = http.client.HTTPConnection(self._host, timeout=20)
        names = {name.replace("_", "-"): text for name, text in headers.items()}
        try:
            connection.request(method, path, body, names)
            response = connection.getresponse()
            media_type = response.getheader("Content-Type", "")
            return Answer(response.status, media_type, response.read())
        finally:
            connection.close()

    def call(
        self, rpc: str, media_type: str, parameters: str = "", /, **fields: Any
    ) -> Answer:
        """Call an RPC in one of the formats."""
        request_class = getattr(datastore_pb, f"{rpc}Request")
        request = request_class(**fields)
        if media_type == JSON:
            body = json_format.MessageToJson(request_class.pb(request)).encode()
        else:
            body = request_class.serialize(request)
        path = f"/v1/projects/{PROJECT}:{rpc[0].lower()}{rpc[1:]}{parameters}"
        return self.send("POST", path, body, Content_Type=media_type)


@pytest.fixture
def rest(running: RunningDatastore, empty: None) -> HttpClient:
    """A client for bare requests."""
    return HttpClient(running.host)


REQUESTS: dict[str, dict[str, Any]] = {
    "Lookup": {"keys": [key("K", 1, "L", "a"), key("K", 9)]},
    "RunQuery": query_fields(kind="L"),
    "RunAggregationQuery": {
        "partition_id": {"project_id": PROJECT},
        "aggregation_query": {
            "nested_query": {"kind": [{"name": "L"}]},
            "aggregations": [{"count": {}, "alias": "all"}],
        },
    },
    "BeginTransaction": {},
    "Commit": {"mode": 2, "mutations": [{"delete": key("K", 5)}]},
    "Rollback": {},
    "AllocateIds": {"keys": [key("K", 1, "M")]},
    "ReserveIds": {"keys": [key("K", 7)]},
}
VOLATILE = {
    "readTime",
    "commitTime",
    "transaction",
    "id",
    "version",
    "snapshotVersion",
}


def settled(content: Any) -> Any:
    """Return JSON without what differs between two answers to one request."""
    if isinstance(content, dict):
        kept = {name: settled(part) for name, part in content.items()}
        return {name: None if name in VOLATILE else kept[name] for name in kept}
    return list(map(settled, content)) if isinstance(content, list) else content


@pytest.mark.parametrize("media_type", [JSON, PROTOBUF])
@pytest.mark.parametrize(("rpc", "fields"), REQUESTS.items(), ids=REQUESTS)
def test_the_answer_is_that_of_grpc(
    raw: RawClient, rest: HttpClient, rpc: str, fields: dict[str, Any], media_type: str
) -> None:
    """Each RPC gives over HTTP what it gives over gRPC."""
    raw.upsert(ITEM)
    answers = []
    for over_grpc in (True, False):
        if rpc == "Rollback":
            fields = {"transaction": raw.call("BeginTransaction").transaction}
        if over_grpc:
            answer = raw.call(rpc, **fields)
            message = type(answer).pb(answer)
        else:
            message = rest.call(rpc, media_type, **fields).message(rpc)
        answers.append(settled(json_format.MessageToDict(message)))
    assert answers[0] == answers[1]


NO_PATH: dict[str, Any] = {"keys": [{"path": []}]}
WRONG: list[tuple[str, dict[str, Any]]] = [
    ("Lookup", NO_PATH),
    ("RunQuery", {}),
    ("RunAggregationQuery", {}),
    ("BeginTransaction", {"database_id": "UPPER"}),
    ("Commit", {"mode": 2, "mutations": [{"insert": ITEM}]}),
    ("Commit", {"mode": 2, "mutations": [{"update": entity(key("K", 9))}]}),
    ("Commit", {"mode": 1}),
    ("Rollback", {"transaction": b"never"}),
    ("AllocateIds", NO_PATH),
    ("ReserveIds", NO_PATH),
]


@pytest.mark.parametrize("media_type", [JSON, PROTOBUF])
@pytest.mark.parametrize(("rpc", "fields"), WRONG)
def test_the_error_is_that_of_grpc(
    raw: RawClient, rest: HttpClient, rpc: str, fields: dict[str, Any], media_type: str
) -> None:
    """It has the same code and text, with the HTTP status of the code."""
    raw.upsert(ITEM)
    code, text = raw.error(rpc, **fields)
    answer = rest.call(rpc, media_type, **fields)
    assert answer.media_type == media_type
    assert answer.error() == (code.value[0], text)
    statuses = {"ALREADY_EXISTS": 409, "NOT_FOUND": 404, "INVALID_ARGUMENT": 400}
    assert answer.status == statuses[code.name]


def begin(
    rest: HttpClient, body: bytes = b"{}", query: str = "", **headers: str
) -> Any:
    """Begin a transaction with a body and headers of the test's own."""
    path = f"/v1/projects/{PROJECT}:beginTransaction{query}"
    return rest.send("POST", path, body, **headers)


@pytest.mark.parametrize(
    ("query", "sent", "got"),
    [
        ("?alt=proto", JSON, PROTOBUF),
        ("?$alt=proto", JSON, PROTOBUF),
        ("?alt=json", PROTOBUF, JSON),
        ("?key=a&unknown=b", JSON, JSON),
    ],
)
def test_the_format_of_an_answer(
    rest: HttpClient, query: str, sent: str, got: str
) -> None:
    """It is the one that a parameter asks for, or else that of the request."""
    answer = rest.call("BeginTransaction", sent, query)
    assert answer.media_type == got
    assert answer.message("BeginTransaction").transaction
    answer = rest.call("Lookup", sent, query, **NO_PATH)
    assert answer.media_type == got
    assert answer.error()[0] == grpc.StatusCode.INVALID_ARGUMENT.value[0]


@pytest.mark.parametrize(
    ("query", "lines"), [("", 3), ("?prettyPrint=false", 1), ("?$prettyPrint=false", 1)]
)
def test_pretty_json(rest: HttpClient, query: str, lines: int) -> None:
    """JSON is for people, unless a parameter says otherwise."""
    assert begin(rest, query=query).body.count(b"\n") == lines


def test_enums_as_integers(raw: RawClient, rest: HttpClient) -> None:
    """JSON has the names of enums, or their numbers for clients of Google."""
    fields = query_fields(kind="L")
    for query, kind in ("", "FULL"), ("?$alt=json;enum-encoding=int", 1):
        answer = rest.call("RunQuery", JSON, query, **fields)
        assert json.loads(answer.body)["batch"]["entityResultType"] == kind


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"{}", {}),
        (b"", {}),
        (b"{}", {"Content_Type": "application/json; charset=utf-8"}),
        (b"", {"Content_Type": "application/protobuf"}),
        (
            gzip.compress(b"{}"),
            {"Content_Type": JSON, "Content_Encoding": "gzip"},
        ),
    ],
)
def test_what_a_request_may_be(
    rest: HttpClient, body: bytes, headers: dict[str, str]
) -> None:
    """JSON without a type, nothing, and what is compressed."""
    answer = begin(rest, body, **headers)
    assert answer.message("BeginTransaction").transaction


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"{", {}),
        (b"[]", {}),
        (b'{"unknown": 1}', {}),
        (b'{"projectId": "other"}', {}),
        (b"abcdef", {"Content_Type": PROTOBUF}),
        (b"{}", {"Content_Type": "text/plain"}),
        (b"{}", {"Content_Type": "application/x-www-form-urlencoded"}),
        (b"{}", {"Content_Type": "multipart/form-data; boundary=a"}),
        (b"{}", {"Content_Encoding": "gzip"}),
        (gzip.compress(b"{}")[:-9], {"Content_Encoding": "gzip"}),
        (gzip.compress(b" " * (2**25 + 1)), {"Content_Encoding": "gzip"}),
        (b"{}", {"Content_Encoding": "br"}),
    ],
)
def test_a_malformed_request(
    running: RunningDatastore, rest: HttpClient, body: bytes, headers: dict[str, str]
) -> None:
    """It is refused with a reason, and begins nothing."""
    answer = begin(rest, body, **headers)
    assert answer.status == 400
    code, text = answer.error()
    assert (code, bool(text)) == (grpc.StatusCode.INVALID_ARGUMENT.value[0], True)
    assert running.is_idle()


@pytest.mark.parametrize(
    ("body", "headers", "named"),
    [
        (b'{"unknown": 1}', {}, "unknown"),
        (b'{"transactionOptions": {"readOnly": {"unknown": 1}}}', {}, "unknown"),
        (b'{"transactionOptions": 1}', {}, "BeginTransactionRequest"),
        (b"{}", {"Content_Type": "text/plain"}, "text/plain"),
    ],
)
def test_an_error_names_the_mistake(
    rest: HttpClient, body: bytes, headers: dict[str, str], named: str
) -> None:
    """It is one sentence, which names what is wrong."""
    _, text = begin(rest, body, **headers).error()
    assert (named in text, "\n" in text, ".." in text) == (True, False, False)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.test"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Host": "evil.test"},
        {"Host": "evil.internal.test"},
    ],
)
def test_a_web_page(raw: RawClient, rest: HttpClient, headers: dict[str, str]) -> None:
    """One of another site can neither read nor write nor reset, whatever it sends."""
    raw.upsert(ITEM)
    transaction = raw.call("BeginTransaction").transaction
    for method, path in (
        ("GET", "/"),
        ("POST", "/reset"),
        ("POST", f"/v1/projects/{PROJECT}:lookup"),
    ):
        answer = rest.send(method, path, b"{}", **headers)
        assert answer.status in (403, 421)
    assert raw.run("L").entity_results
    raw.call("Rollback", transaction=transaction)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "localhost"},
        {"Host": "host.docker.internal:8081"},
        {"Sec_Fetch_Site": "none"},
        {"Sec_Fetch_Mode": "cors"},
    ],
)
def test_who_may_send_requests(rest: HttpClient, headers: dict[str, str]) -> None:
    """Programs on this machine and in its containers, and the address bar."""
    assert rest.send("GET", "/", b"", **headers)[::2] == (200, b"Ok\n")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/"),
        ("GET", "/reset"),
        ("POST", "/shutdown"),
        ("GET", f"/v1/projects/{PROJECT}:lookup"),
        ("POST", f"/v1/projects/{PROJECT}:export"),
        ("POST", f"/v1beta3/projects/{PROJECT}:lookup"),
    ],
)
def test_another_path(rest: HttpClient, method: str, path: str) -> None:
    """It is not found, and the answer says what there is."""
    answer = rest.send(method, path, b"{}")
    assert answer.status == 404
    assert b"runAggregationQuery" in answer.body


def test_a_reset(running: RunningDatastore, raw: RawClient, rest: HttpClient) -> None:
    """It empties all databases, for both libraries, and ends all transactions."""
    raw.upsert(ITEM)
    raw.upsert(entity(key("K", 1, database="other")), database_id="other")
    transaction = raw.call("BeginTransaction").transaction
    raw.call("Lookup", keys=[ITEM.key], read_options={"transaction": transaction})
    assert rest.send("POST", "/reset").status == 200
    assert running.is_idle()
    assert not raw.run("L").entity_results
    other = raw.call("RunQuery", query={"kind": [{"name": "K"}]}, database_id="other")
    assert not other.batch.entity_results
    with running.bundled():
        from google.appengine.ext import ndb as bundled

        found = bundled.Key("K", 1, "L", "a").get(use_cache=False, use_memcache=False)
        assert found is None


def test_a_named_database(raw: RawClient, rest: HttpClient) -> None:
    """The request names it, over HTTP as over gRPC."""
    stored = entity(key("K", 3, database="other"), n=1)
    raw.upsert(stored, database_id="other")
    fields: dict[str, Any] = {"database_id": "other", "keys": [stored.key]}
    for media_type in JSON, PROTOBUF:
        answer = rest.call("Lookup", media_type, **fields).message("Lookup")
        assert answer.found[0].entity.key.partition_id.database_id == "other"


@pytest.mark.parametrize("media_type", [JSON, PROTOBUF])
def test_large_messages(rest: HttpClient, media_type: str) -> None:
    """Up to 32 MiB are taken, and more refused."""
    blob = value(os.urandom(10**6), exclude_from_indexes=True)
    stored = [entity(key("Large", n), blob=blob) for n in range(1, 9)]
    mutations = [{"upsert": one} for one in stored]
    rest.call("Commit", media_type, mode=2, mutations=mutations).message("Commit")
    fields: dict[str, Any] = {"keys": [one.key for one in stored]}
    answer = rest.call("Lookup", media_type, **fields)
    found = answer.message("Lookup")
    # the rest is for the next request, as over gRPC
    assert len(answer.body) > 2 * 10**6
    assert len(found.found) + len(found.deferred) == 8

    answer = begin(rest, bytes(2**25 + 1), Content_Type=media_type)
    assert answer.status == 413
    assert answer.error()[0] == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]


def test_clients_of_both_kinds_at_once(
    running: RunningDatastore, rest: HttpClient
) -> None:
    """64 of them write at the same time, each over connections of its own."""

    def write(number: int) -> None:
        client = RawClient(running.host)
        for _ in range(10):
            one = entity(key("C", f"{number}"), n=1)
            if number % 2:
                client.upsert(one)
            else:
                mutations = [{"upsert": one}]
                answer = rest.call("Commit", PROTOBUF, mode=2, mutations=mutations)
                assert answer.status == 200, answer.body
        client.close()

    with ThreadPoolExecutor(64) as executor:
        list(executor.map(write, range(64)))
    batch = rest.call("RunQuery", PROTOBUF, **query_fields(kind="C")).message(
        "RunQuery"
    )
    assert len(batch.batch.entity_results) == 64


LIBRARY = """
from google.api_core.exceptions import Conflict
from google.cloud import datastore

client = datastore.Client(project="PROJECT", namespace="space")
assert type(client._datastore_api).__name__ == "HTTPDatastoreAPI"
keys = [client.key("K", n) for n in range(1, 702)]
for first in range(0, 701, 500):
    entities = []
    for key in keys[first : first + 500]:
        entity = datastore.Entity(key, exclude_from_indexes=["blob"])
        entity.update(n=key.id, text="a", blob=b"b", none=None, list=[1, 2])
        entities.append(entity)
    client.put_multi(entities)
found = client.get(keys[4])
assert (found["n"], found["list"], found["none"]) == (5, [1, 2], None), found
query = client.query(kind="K", order=["n"])
assert [entity["n"] for entity in query.fetch()] == list(range(1, 702))
pages = query.fetch(limit=50)
next(pages.pages)
assert len(list(query.fetch(start_cursor=pages.next_page_token))) == 651
[[total]] = client.aggregation_query(query).sum("n").fetch()
assert total.value == sum(range(702)), total
assert len(set(client.allocate_ids(client.key("K"), 3))) == 3
client.reserve_ids_multi([client.key("K", 10**6)])
client.delete_multi(keys[500:])
assert client.get(keys[500]) is None
with client.transaction():
    found = client.get(keys[0])
    found["n"] = 0
    client.put(found)
assert client.get(keys[0])["n"] == 0
try:
    with client.transaction(read_only=True) as transaction:
        assert client.get(keys[0])["n"] == 0
    with client.transaction() as first:
        client.get(keys[1])
        with client.transaction() as second:
            client.get(keys[1])
            client.put(datastore.Entity(keys[1]))
        first.put(datastore.Entity(keys[1]))
except Conflict as error:
    print("conflict:", error.message)
"""


def test_the_library(running: RunningDatastore, empty: None) -> None:
    """google-cloud-datastore works without gRPC: all of its calls, and a conflict."""
    environment = {
        **os.environ,
        "DATASTORE_EMULATOR_HOST": running.host,
        "GOOGLE_CLOUD_DISABLE_GRPC": "True",
    }
    code = LIBRARY.replace("PROJECT", PROJECT)
    done = run_python("-W", "ignore", "-c", code, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("conflict:")
