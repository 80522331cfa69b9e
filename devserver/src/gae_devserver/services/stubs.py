"""Make the SDK's stubs, except those of the datastore and the task queue."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gae_devserver.clock import Clock
from gae_devserver.services.request_info import AppRequestInfo


@dataclass(frozen=True)
class Surroundings:
    """What the stubs need to know."""

    app_id: str
    """"dev~" and the project."""
    hostname: str
    """"host:port" of the app."""
    clock: Clock
    info: AppRequestInfo


MakeStub = Callable[[str, Surroundings], Any]
"""Makes the stub of a service, as `make_stub` does."""


def make_stub(service: str, around: Surroundings) -> Any:
    """Return a new stub of a service.

    Only its stub is imported, so the server starts sooner.

    Raises:
        KeyError: there is no such service.
    """
    match service:
        case "app_identity_service":
            from google.appengine.api.app_identity import app_identity_stub

            # Create() would look for credentials on the network first.
            return app_identity_stub.AppIdentityServiceStub()
        case "blobstore":
            from google.appengine.api.blobstore import blobstore_stub, dict_blob_storage

            return blobstore_stub.BlobstoreServiceStub(
                dict_blob_storage.DictBlobStorage(),
                request_data=around.info,
                # Without a name, the stub makes a folder that it never uses or deletes.
                storage_dir="unused",
            )
        case "capability_service":
            from google.appengine.api.capabilities import capability_stub

            return capability_stub.CapabilityServiceStub()
        case "datastore_v4":
            from google.appengine.datastore import datastore_v4_stub

            return datastore_v4_stub.DatastoreV4Stub(around.app_id)
        case "images":
            from google.appengine.api.images import images_stub
            from PIL import Image

            # The stub uses this name, which Pillow 10 removed.
            Image.ANTIALIAS = Image.Resampling.LANCZOS  # type: ignore[attr-defined]
            host_prefix = f"http://{around.hostname}"
            return images_stub.ImagesServiceStub(host_prefix=host_prefix)
        case "mail":
            from google.appengine.api import mail_stub

            return mail_stub.MailServiceStub()
        case "memcache":
            from google.appengine.api.memcache import memcache_stub

            return memcache_stub.MemcacheServiceStub(gettime=around.clock.now)
        case "modules":
            from google.appengine.api.modules import modules_stub

            return modules_stub.ModulesServiceStub(around.info)
        case "search":
            from google.appengine.api.search import simple_search_stub

            return simple_search_stub.SearchServiceStub()
        case "system":
            from google.appengine.api.system import system_stub

            return system_stub.SystemServiceStub(request_data=around.info)
        case "urlfetch":
            from google.appengine.api import urlfetch_stub

            return urlfetch_stub.URLFetchServiceStub()
        case "user":
            from google.appengine.api import user_service_stub

            return user_service_stub.UserServiceStub(request_data=around.info)
    raise KeyError(service)
