"""The request and response message of each API call.

The server receives only names and bytes. Google's own dev server has such a table in
`remote_api_services`, but the SDK's PyPI package lacks that module.
"""

import functools
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.appengine.runtime import apiproxy_errors
from google.protobuf.message import DecodeError

_API = "google.appengine.api."
_DATASTORE = "google.appengine.datastore."
_ENTITY = _DATASTORE + "entity_bytes_pb2:"
_BASE = _API + "api_base_pb2:"
_VOID = _BASE + "VoidProto"


@dataclass(frozen=True)
class _Service:
    """The methods of one service, by the rule `{prefix}{method}Request/Response`."""

    module: str
    methods: str
    prefix: str = ""
    exceptions: Mapping[str, str] = field(default_factory=dict)
    """method: "Request Response", where the rule does not hold.

    A name without a module is in the service's own.
    """


_SERVICES = {
    "app_identity_service": _Service(
        _API + "app_identity.app_identity_service_pb2",
        "GetDefaultGcsBucketName GetPublicCertificatesForApp GetServiceAccountName"
        " SignForApp",
        exceptions={
            "GetPublicCertificatesForApp": "GetPublicCertificateForAppRequest"
            " GetPublicCertificateForAppResponse"
        },
    ),
    "blobstore": _Service(
        _API + "blobstore.blobstore_service_pb2",
        "CreateEncodedGoogleStorageKey CreateUploadURL DecodeBlobKey DeleteBlob"
        " FetchData",
        exceptions={"DeleteBlob": f"DeleteBlobRequest {_VOID}"},
    ),
    "capability_service": _Service(_API + "capabilities.capability_stub", "IsEnabled"),
    "datastore_v3": _Service(
        _DATASTORE + "datastore_pb",
        "AllocateIds BeginTransaction Commit CreateIndex Delete DeleteIndex"
        " Get GetIndices Next Put Rollback RunQuery Touch UpdateIndex",
        exceptions={
            "BeginTransaction": "BeginTransactionRequest Transaction",
            "Commit": "Transaction CommitResponse",
            "CreateIndex": f"{_ENTITY}CompositeIndex {_BASE}Integer64Proto",
            "DeleteIndex": f"{_ENTITY}CompositeIndex {_VOID}",
            "GetIndices": "GetIndicesRequest CompositeIndices",
            "Next": "NextRequest QueryResult",
            "Rollback": f"Transaction {_VOID}",
            "RunQuery": "Query QueryResult",
            "UpdateIndex": f"{_ENTITY}CompositeIndex {_VOID}",
        },
    ),
    "datastore_v4": _Service(
        _DATASTORE + "datastore_v4_pb2",
        "AllocateIds BeginTransaction Commit ContinueQuery Lookup Rollback RunQuery",
    ),
    "images": _Service(
        _API + "images.images_service_pb2",
        "Composite DeleteUrlBase GetUrlBase Histogram Transform",
        "Images",
    ),
    "mail": _Service(
        _API + "mail_service_pb2",
        "Send SendToAdmins",
        exceptions={
            "Send": f"MailMessage {_VOID}",
            "SendToAdmins": f"MailMessage {_VOID}",
        },
    ),
    "memcache": _Service(
        _API + "memcache.memcache_service_pb2",
        "BatchIncrement Delete FlushAll Get Increment Set Stats",
        "Memcache",
        exceptions={"FlushAll": "MemcacheFlushRequest MemcacheFlushResponse"},
    ),
    "modules": _Service(
        _API + "modules.modules_service_pb2",
        "GetDefaultVersion GetHostname GetModules GetNumInstances GetVersions"
        " SetNumInstances StartModule StopModule",
    ),
    "search": _Service(
        _API + "search.search_service_pb2",
        "DeleteDocument DeleteSchema IndexDocument ListDocuments ListIndexes Search",
    ),
    "system": _Service(
        _API + "system.system_service_pb2", "GetSystemStats StartBackgroundRequest"
    ),
    "taskqueue": _Service(
        _API + "taskqueue.taskqueue_service_bytes_pb2",
        "Add BulkAdd Delete DeleteGroup DeleteQueue FetchQueueStats FetchQueues"
        " FetchTask ForceRun ModifyTaskLease PauseQueue PurgeQueue QueryAndOwnTasks"
        " QueryTasks UpdateQueue UpdateStorageLimit",
        "TaskQueue",
    ),
    "urlfetch": _Service(_API + "urlfetch_service_pb2", "Fetch", "URL"),
    "user": _Service(
        _API + "user_service_pb2",
        "CreateLoginURL CreateLogoutURL GetOAuthUser",
    ),
}


def services() -> dict[str, tuple[str, ...]]:
    """Return the methods of every service."""
    return {name: tuple(s.methods.split()) for name, s in _SERVICES.items()}


@functools.cache
def message_classes(service: str, method: str) -> tuple[Any, Any]:
    """Return the request and response classes of a call.

    Raises:
        LookupError: there is no such service or method; the message says which.
    """
    known = _SERVICES.get(service)
    if known is None:
        raise LookupError(
            f"the dev server has no service {service!r}, so no {service}.{method}"
        )
    if method not in known.methods.split():
        raise LookupError(
            f"the dev server does not implement {service}.{method}: "
            f"its service {service!r} has no method {method!r}"
        )
    names = known.exceptions.get(
        method, f"{known.prefix}{method}Request {known.prefix}{method}Response"
    )
    request, response = (_resolve(known.module, name) for name in names.split())
    return request, response


def parse(message_class: Any, data: bytes, what: str) -> Any:
    """Return the message that `data` holds.

    Raises:
        apiproxy_errors.ArgumentError: it holds none, or one that lacks required fields.
    """
    try:
        message = message_class.FromString(data)
    except DecodeError as error:
        raise apiproxy_errors.ArgumentError(str(error)) from None
    if not message.IsInitialized():
        missing = ", ".join(message.FindInitializationErrors())
        raise apiproxy_errors.ArgumentError(f"{what} lacks required fields: {missing}")
    return message


def _resolve(default_module: str, name: str) -> Any:
    module, _, attribute = name.rpartition(":")
    return getattr(importlib.import_module(module or default_module), attribute)
