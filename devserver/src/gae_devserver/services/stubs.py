"""Make the SDK's stubs, except those of the datastore and the task queue."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gae_devserver.clock import Clock
from gae_devserver.http.own_fetches import OwnFetches
from gae_devserver.instances.instance import refuse_background_thread
from gae_devserver.mail.smtp_server import SmtpServer
from gae_devserver.services.request_info import AppRequestInfo
from gae_devserver.storage.storage import Storage
from gae_devserver.users.sign_in import LOGIN, LOGOUT

StartThread = Callable[[str], str]
"""Starts a background thread for the request with a ticket; returns its ID."""

FindPid = Callable[[str], int | None]
"""Returns the process that started the service that makes a call, if one runs."""


@dataclass(frozen=True)
class StubContext:
    """What the stubs need to know."""

    app_id: str
    """"dev~" and the project."""
    clock: Clock
    info: AppRequestInfo
    in_loop: Callable[..., Any]
    """Calls a function with its arguments in the event loop, from any thread."""
    storage: Storage | None = None
    """Where stubs keep what survives a restart; None: nowhere."""
    smtp: SmtpServer | None = None
    """Where mail is sent; None: nowhere."""
    start_thread: StartThread = refuse_background_thread
    find_pid: FindPid = lambda ticket: None
    own_fetches: OwnFetches | None = None
    """Tells the app which requests it has sent itself; None: there is no such port."""


MakeStub = Callable[[str, StubContext], Any]
"""Makes the stub of a service, as `make_stub` does."""

# service -> module, and class or function, in google.appengine or here
_STUBS = {
    "app_identity_service": "api.app_identity.app_identity_stub:AppIdentityServiceStub",
    "blobstore": "gae_devserver.blobs.stub:make_blobstore",
    "capability_service": "api.capabilities.capability_stub:CapabilityServiceStub",
    "datastore_v4": "gae_devserver.services.datastore_v4:DatastoreV4",
    "images": "gae_devserver.services.images:Images",
    "mail": "gae_devserver.mail.stub:Mail",
    "memcache": "gae_devserver.services.memcache:Memcache",
    "modules": "api.modules.modules_stub:ModulesServiceStub",
    "search": "gae_devserver.services.search:Search",
    "system": "gae_devserver.services.system:System",
    "urlfetch": "gae_devserver.services.url_fetch:UrlFetch",
    "user": "api.user_service_stub:UserServiceStub",
}


def make_stub(service: str, context: StubContext) -> Any:
    """Return a new stub of a service.

    Only its module is imported, so the server starts sooner.

    Raises:
        KeyError: there is no such service.
    """
    module, _, name = _STUBS[service].partition(":")
    if not module.startswith("gae_devserver."):
        module = f"google.appengine.{module}"
    make = getattr(importlib.import_module(module), name)
    match service:
        case "blobstore":
            return make(context.storage, context.in_loop, context.info)
        case "datastore_v4":
            return make(context.app_id)
        case "images":
            return make(context.info)
        case "mail":
            return make(context.clock, context.in_loop, context.storage, context.smtp)
        case "memcache":
            return make(gettime=context.clock.now)
        case "system":
            return make(context.start_thread, context.find_pid, context.info)
        case "urlfetch" if context.own_fetches is not None:
            return make(context.own_fetches.outbound_headers)
        case "modules":
            return make(request_data=context.info)
        case "user":
            return make(
                login_url=f"{LOGIN}?continue=%s",
                logout_url=f"{LOGOUT}?continue=%s",
                request_data=context.info,
            )
    # for app_identity_service, Create() would look for credentials on the network
    return make()
