"""Calls that no dev server carries out."""

from typing import Any

from google.appengine.api import api_base_pb2, apiproxy_stub_map
from google.appengine.api.app_identity import app_identity_service_pb2 as identity
from google.appengine.api.blobstore import blobstore_service_pb2 as blobs
from google.appengine.api.search import search_service_pb2 as search
from google.appengine.datastore import datastore_v3_bytes_pb2 as datastore
from google.appengine.datastore import datastore_v4_pb2 as v4

Void = api_base_pb2.VoidProto


def call(service: str, method: str, request: Any = None, response: Any = Void) -> Any:
    """Make a call; return the class of the answer."""
    filled = response()
    message = Void() if request is None else request
    apiproxy_stub_map.MakeSyncCall(service, method, message, filled)
    return type(filled).__name__


CASES: dict[str, Any] = {
    "app_identity_service.GetAccessToken": lambda: call(
        "app_identity_service",
        "GetAccessToken",
        identity.GetAccessTokenRequest(scope=["a"]),
        identity.GetAccessTokenResponse,
    ),
    "blobstore.CloneBlob": lambda: call(
        "blobstore",
        "CloneBlob",
        blobs.CloneBlobRequest(
            blob_key=b"a", mime_type=b"text/plain", target_app_id=b"b"
        ),
        blobs.CloneBlobResponse,
    ),
    "channel.CreateChannel": lambda: call("channel", "CreateChannel"),
    "datastore_v3.AddActions": lambda: call(
        "datastore_v3",
        "AddActions",
        datastore.AddActionsRequest(transaction={"app": "dev~sample", "handle": 1}),
        datastore.AddActionsResponse,
    ),
    "datastore_v4.Write": lambda: call(
        "datastore_v4", "Write", v4.CommitRequest(), v4.CommitResponse
    ),
    "file.Create": lambda: call("file", "Create"),
    "logservice.Read": lambda: call("logservice", "Read"),
    "memcache.GrabTail": lambda: call("memcache", "GrabTail"),
    "nothing.Nothing": lambda: call("nothing", "Nothing"),
    "search.CancelDeleteIndex": lambda: call(
        "search",
        "CancelDeleteIndex",
        search.CancelDeleteIndexRequest(),
        search.CancelDeleteIndexResponse,
    ),
    "search.DeleteIndex": lambda: call(
        "search", "DeleteIndex", search.DeleteIndexRequest(), search.DeleteIndexResponse
    ),
    "urlfetch.Nothing": lambda: call("urlfetch", "Nothing"),
    "user.CheckOAuthSignature": lambda: call("user", "CheckOAuthSignature"),
    "xmpp.SendMessage": lambda: call("xmpp", "SendMessage"),
}

GROUPS = {"refused": CASES}
