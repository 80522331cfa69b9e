"""Connects the app's process to the dev server: API calls, Cloud Tasks, the log.

Python imports this file when it starts, because its folder is first on PYTHONPATH. It
runs on the app's Python, 3.7 or later. Of the package, it imports only the two next to
it, and only when the app imports what they change: gae_devserver_log in a process that
may answer requests, and gae_devserver_sdk.

The library of Cloud Tasks knows no emulator. Without this file its clients call Google,
with the credentials of the user. So a client that cannot be connected fails.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from importlib.machinery import ModuleSpec

# The SDK replaces os.environ later by one that is empty in a thread on Python 3.13.
from os import environ
from types import ModuleType
from typing import Any

# google.cloud.tasks_v2, _v2beta2 and _v2beta3
_PACKAGES = "google.cloud.tasks_v"
_BASE = ".services.cloud_tasks.transports.base"
_BEFORE_2_0 = ".gapic.transports.cloud_tasks_grpc_transport"
_OF_GOOGLE = (
    "api_mtls_endpoint",
    "client_cert_source",
    "client_cert_source_for_mtls",
    "credentials",
    "credentials_file",
    "ssl_channel_credentials",
)
_OPTIONS = [
    # An app may call on import, when the server does not listen yet. The limit is the
    # longest deadline that Cloud Tasks accepts.
    (
        "grpc.service_config",
        '{"methodConfig": [{"name": [{}], "waitForReady": true, "timeout": "30s"}]}',
    ),
    # as in the library's own channels
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
]

_connected: set[str] = set()
# Where the log goes. The app may change the variable later.
_LOG = environ.get("GAE_DEVSERVER_LOG")
# as the SDK makes it
_API_URL = "http://{}:{}/rpc_http".format(
    environ.get("API_HOST"), environ.get("API_PORT")
)
_LOGGED = {
    "google.appengine.api": "wrap_apps_of_sdk",
    "google.appengine.api.taskqueue.cloudtask": "send_tickets_of_sdk",
    "google.cloud.datastore._http": "send_tickets_over_http",
    "grpc": "send_tickets",
    "gunicorn.app.base": "wrap_apps_of_gunicorn",
    "uvicorn.config": "wrap_apps_of_uvicorn",
}
"""The methods that change modules for the log."""
_CLOUD_TASKS_OF_SDK = "google.appengine.api.taskqueue.cloudtask"


class Finder:
    """Finds modules where Python does, and changes what some of them define."""

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return the spec of a module that is connected; None: of another one."""
        after: Callable[[ModuleType], None] | None = None
        around: Callable[[ModuleType], AbstractContextManager[None]] | None = None
        if _LOG and name in _LOGGED:
            after = change_for_log
        if _LOG and name in _CHANGED:
            after = _CHANGED[name]
        if name == _CLOUD_TASKS_OF_SDK:
            around = delay_cloud_tasks
        if name.startswith(_PACKAGES):
            package = ".".join(name.split(".")[:3])
            after = {
                package: check_package,
                package + _BASE: connect_subclasses,
                package + _BEFORE_2_0: connect_before_2_0,
            }.get(name)
        elif after is None and around is None:
            return None
        for finder in sys.meta_path:
            # the finder of old releases of six does not have this method
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if after is not None or around is not None:
                    add_to_execution(spec, after, around)
                return spec
        return None


def add_to_execution(
    spec: ModuleSpec,
    after: Callable[[ModuleType], None] | None,
    around: Callable[[ModuleType], AbstractContextManager[None]] | None = None,
) -> None:
    """Have a function called with the module after its code ran, or around that.

    The loader stays the one that it is, for those who ask it for the source or for
    files of the package.
    """
    loader = spec.loader
    if loader is None:
        return  # a folder without code
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        if module.__name__ == spec.name:  # a loader may serve several modules
            vars(loader).pop("exec_module", None)
        if around is not None and module.__name__ == spec.name:
            with around(module):
                execute(module)
        else:
            execute(module)
        if after is not None and module.__name__ == spec.name:
            after(module)

    if hasattr(exec_module.__code__, "replace"):  # since Python 3.8
        # Python leaves frames of its import system out of tracebacks and warnings.
        exec_module.__code__ = exec_module.__code__.replace(
            co_filename="<frozen importlib._bootstrap_external>"
        )
    loader.exec_module = exec_module  # type: ignore[method-assign]


def connect_subclasses(module: ModuleType) -> None:
    """Connect each transport of the library, which derives from a class of `module`."""
    base = getattr(module, "CloudTasksTransport", None)
    if base is None:
        return  # `check_package` reports it

    def connect_subclass(cls: type, **options: object) -> None:
        super(base, cls).__init_subclass__(**options)
        # one of the app itself calls one of the library
        if cls.__module__.startswith(_PACKAGES):
            connect(cls, cls.__module__.rpartition(".")[2])

    base.__init_subclass__ = classmethod(connect_subclass)  # type: ignore[arg-type]
    _connected.add(module.__name__.replace(_BASE, ""))


def connect_before_2_0(module: ModuleType) -> None:
    """Connect the only transport of the releases before 2.0."""
    connect(module.CloudTasksGrpcTransport, "grpc")
    _connected.add(module.__name__.replace(_BEFORE_2_0, ""))


def connect(transport: type, kind: str) -> None:
    """Have a class of transports use the dev server, however an instance is made."""
    own = vars(transport).get("__init__")
    if own is None or kind == "rest_base":
        return  # a class of the library that derives from it is connected
    required, arguments = _KINDS.get(kind, (None, None))
    if arguments is None or required not in own.__code__.co_varnames:
        refuse(transport)
        return

    @functools.wraps(own)
    def make(self: object, *args: object, **options: object) -> None:
        for name in _OF_GOOGLE:
            options.pop(name, None)
        own(self, *args, **{**options, **arguments()})

    transport.__init__ = make  # type: ignore[misc]


def check_package(package: ModuleType) -> None:
    """Warn if a client of a package cannot be connected, and have it fail."""
    if package.__name__ in _connected:
        return
    for name, value in list(vars(package).items()):
        if name.endswith("Client") and isinstance(value, type):
            refuse(value)


def refuse(cls: type) -> None:
    """Have each instance of a class fail when it is made."""
    text = (
        f"the dev server cannot connect {cls.__module__}.{cls.__name__}, because it "
        "does not know this release of google-cloud-tasks. Install another release"
    )
    print(f"warning: {text}.", file=sys.stderr)

    def fail(self: object, *args: object, **options: object) -> None:
        raise RuntimeError(text)

    cls.__init__ = fail  # type: ignore[misc]


def _grpc_arguments() -> dict[str, object]:
    import grpc

    host = _emulator_host()
    return {"channel": grpc.insecure_channel(host, options=_OPTIONS)}


def _grpc_asyncio_arguments() -> dict[str, object]:
    import grpc.aio

    host = _emulator_host()
    return {"channel": grpc.aio.insecure_channel(host, options=_OPTIONS)}


def _rest_arguments() -> dict[str, object]:
    from google.auth.credentials import AnonymousCredentials

    class Ticket(AnonymousCredentials):
        """Adds the ticket of the request to each call."""

        def before_request(self, _: Any, method: str, url: str, headers: Any) -> None:
            tickets: Any = sys.modules.get("gae_devserver_log.rpc_tickets")
            ticket = tickets.ticket() if tickets else None
            if ticket is not None:
                headers[tickets.HEADER] = ticket

    host = "{API_HOST}:{API_PORT}".format_map(environ)
    credentials = Ticket()  # type: ignore[no-untyped-call]
    return {"host": host, "url_scheme": "http", "credentials": credentials}


_KINDS = {
    "grpc": ("channel", _grpc_arguments),
    "grpc_asyncio": ("channel", _grpc_asyncio_arguments),
    "rest": ("url_scheme", _rest_arguments),
}


def _emulator_host() -> str:
    host = environ.get("CLOUD_TASKS_EMULATOR_HOST")
    if not host:
        raise RuntimeError(
            "CLOUD_TASKS_EMULATOR_HOST is not set, so this client of Cloud Tasks has "
            "no server. Do not delete the variable that the dev server sets"
        )
    return host


@functools.lru_cache(maxsize=None)  # noqa: UP033 - for Python 3.8
def _package(name: str) -> Any:
    """Import a package of this folder, which is not on sys.path."""
    from importlib.util import module_from_spec, spec_from_file_location

    folder = os.path.join(os.path.dirname(__file__), name)  # noqa: PTH118, PTH120
    spec = spec_from_file_location(
        name,
        os.path.join(folder, "__init__.py"),  # noqa: PTH118
        submodule_search_locations=[folder],
    )
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.lru_cache(maxsize=None)  # noqa: UP033 - for Python 3.8
def _log() -> Any:
    """Have what tells the server what happens begin."""
    return _package("gae_devserver_log").start(*str(_LOG).split(":", 2), environ)


def delay_cloud_tasks(module: ModuleType) -> Any:
    """Delay the SDK's import of the client of Cloud Tasks."""
    try:
        return _package("gae_devserver_sdk").delaying_cloud_tasks(module)
    except Exception:  # noqa: BLE001 - the SDK imports it as without this file
        return contextlib.nullcontext()


def change_api_calls(module: ModuleType) -> None:
    """Have the SDK make API calls without HTTP."""
    # another release of the SDK makes them over HTTP
    with contextlib.suppress(Exception):
        folder = os.path.dirname(str(_LOG).split(":", 2)[1])  # noqa: PTH120
        path = os.path.join(folder, "api.sock")  # noqa: PTH118
        _package("gae_devserver_sdk").change_api_calls(module, path, _API_URL)


def change_for_log(module: ModuleType) -> None:
    """Have the log get what happens in apps that run with a module."""
    # the app runs without it
    with contextlib.suppress(Exception):
        getattr(_log(), _LOGGED[module.__name__])(module)


def remember_ndb_texts(module: ModuleType) -> None:
    """Have bundled NDB make each text for its debug output once."""
    with contextlib.suppress(Exception):
        _package("gae_devserver_sdk").remember_ndb_texts(module)


_CHANGED = {
    "google.appengine.ext.ndb.utils": remember_ndb_texts,
    "google.appengine.runtime.default_api_stub": change_api_calls,
}


def _import_hidden() -> None:
    """Import the sitecustomize that Python would find without this folder."""
    folder = os.path.dirname(__file__)  # noqa: PTH120 - pathlib takes time to import
    sys.path[:] = [entry for entry in sys.path if entry != folder]
    this = sys.modules.pop(__name__)
    try:
        import sitecustomize  # type: ignore[import-not-found]  # noqa: F401
    except ImportError as error:
        sys.modules[__name__] = this
        if error.name != __name__:
            raise


if __name__ == "sitecustomize":
    sys.meta_path.insert(0, Finder())
    _import_hidden()
