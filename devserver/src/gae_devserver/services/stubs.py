"""Make the SDK's stubs, except those of the datastore and the task queue."""

from collections.abc import Callable, Mapping
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


MakeStub = Callable[[Surroundings], Any]

# Each function imports its stub itself: the server starts sooner without them.


def _app_identity(_: Surroundings) -> Any:
    from google.appengine.api.app_identity import app_identity_stub

    # Create() would look for credentials on the network first.
    return app_identity_stub.AppIdentityServiceStub()


def _blobstore(around: Surroundings) -> Any:
    from google.appengine.api.blobstore import blobstore_stub, dict_blob_storage

    return blobstore_stub.BlobstoreServiceStub(
        dict_blob_storage.DictBlobStorage(),
        request_data=around.info,
        # Without a name, the stub makes a folder that it neither uses nor deletes.
        storage_dir="unused",
    )


def _capability(_: Surroundings) -> Any:
    from google.appengine.api.capabilities import capability_stub

    return capability_stub.CapabilityServiceStub()


def _datastore_v4(around: Surroundings) -> Any:
    from google.appengine.datastore import datastore_v4_stub

    return datastore_v4_stub.DatastoreV4Stub(around.app_id)


def _images(around: Surroundings) -> Any:
    from google.appengine.api.images import images_stub
    from PIL import Image

    # The stub uses this name, which Pillow 10 removed.
    Image.ANTIALIAS = Image.Resampling.LANCZOS  # type: ignore[attr-defined]
    return images_stub.ImagesServiceStub(host_prefix=f"http://{around.hostname}")


def _mail(_: Surroundings) -> Any:
    from google.appengine.api import mail_stub

    return mail_stub.MailServiceStub()


def _memcache(around: Surroundings) -> Any:
    from google.appengine.api.memcache import memcache_stub

    return memcache_stub.MemcacheServiceStub(gettime=around.clock.now)


def _modules(around: Surroundings) -> Any:
    from google.appengine.api.modules import modules_stub

    return modules_stub.ModulesServiceStub(around.info)


def _search(_: Surroundings) -> Any:
    from google.appengine.api.search import simple_search_stub

    return simple_search_stub.SearchServiceStub()


def _system(around: Surroundings) -> Any:
    from google.appengine.api.system import system_stub

    return system_stub.SystemServiceStub(request_data=around.info)


def _urlfetch(_: Surroundings) -> Any:
    from google.appengine.api import urlfetch_stub

    return urlfetch_stub.URLFetchServiceStub()


def _user(around: Surroundings) -> Any:
    from google.appengine.api import user_service_stub

    return user_service_stub.UserServiceStub(request_data=around.info)


MAKERS: Mapping[str, MakeStub] = {
    "app_identity_service": _app_identity,
    "blobstore": _blobstore,
    "capability_service": _capability,
    "datastore_v4": _datastore_v4,
    "images": _images,
    "mail": _mail,
    "memcache": _memcache,
    "modules": _modules,
    "search": _search,
    "system": _system,
    "urlfetch": _urlfetch,
    "user": _user,
}
