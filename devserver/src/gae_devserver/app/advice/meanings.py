"""What an error of an app means on App Engine, and what to do about it."""

import re
from dataclasses import dataclass
from pathlib import Path

from gae_devserver.app.advice import releases
from gae_devserver.app.advice.tracebacks import Frame, Traceback, relative_to
from gae_devserver.config.runtimes import GUIDE

ASGI_APPS = "docs/frameworks.md in gae-devserver's repository"
DEBUGGER = "debugger"
"""The kind of advice on a debugger without a terminal."""
_PYTHON_2 = f"This is Python 2 code: see {GUIDE}."
_PYTHON_2_ERRORS = (
    "Missing parentheses in call to",
    "multiple exception types must be parenthesized",
    "has no attribute 'TaskHandler'",
)
_NO_PROXY = "No api proxy found for service"
_NO_TICKET = "without active security ticket"
_AFTER_END = "was made outside of a request, or after its end"
# what an ASGI app says that is called as a WSGI app: without a third argument
_ASGI_APP = re.compile(
    r"(?:(\w+)\.)?\w+\(\) missing 1 required positional argument: 'send'"
)
_AIOHTTP_APP = re.compile(r"\bApplication\.__call__\(\) takes 1 positional argument")
# and what a WSGI app says that is called as an ASGI app
_WSGI_APP = re.compile(r"missing 1 required positional argument: 'start_resp")
_ASGI_SERVERS = ("/uvicorn/", "/hypercorn/", "/daphne/", "/granian/")
_THREADS = ("/threading.py", "/concurrent/futures/thread.py", "/anyio/to_thread.py")
_SERVICE = re.compile(r"/google/appengine/(?:api|ext)/(\w+)")
# pickle finds no function, or another one, under the name of a function
_OTHER_NAME = ("not the same object as", "attribute lookup", "not found as")
# and what it says when it loads a call whose function is gone
_NOT_FOUND = ("No module named", "Can't get attribute")
_DEFERRED = "/google/appengine/ext/deferred/"
_ID_TOKEN = "/google/oauth2/id_token.py"
# what its functions say without the certificate that a token needs
_NO_CERTIFICATE = ("Certificate for key id", ".TransportError: ")


@dataclass(frozen=True)
class Meaning:
    """What an error means."""

    kind: str
    """The same for errors of the same cause."""
    text: str


def of(traceback: Traceback, folder: Path) -> Meaning | None:
    """Return what an error of the app in this folder means; None: not known."""
    error = traceback.error
    if any(sign in error for sign in _PYTHON_2_ERRORS):
        return Meaning("Python 2", _PYTHON_2)
    # since Python 3.14, the debugger ends the process instead
    ends = error.startswith("SystemExit") and traceback.frames[-1:]
    if error == "bdb.BdbQuit" or (ends and Path(ends[0].file).name == "pdb.py"):
        return Meaning(
            DEBUGGER,
            "breakpoint() has no terminal. Start the server with --debug, which gives "
            "its terminal to the app.",
        )
    own = traceback.own(folder)
    by_app = own is not None and own[1] is None
    # a function of the app may have an argument of that name
    if not by_app and (app := _ASGI_APP.search(error)):
        return Meaning("ASGI app", _asgi_app(app[1] or "The app"))
    if _AIOHTTP_APP.search(error):
        return Meaning(
            "ASGI app",
            "An aiohttp app is neither a WSGI app nor an ASGI app, so it cannot use "
            "the bundled services. To run it without them, remove wrap_wsgi_app, and "
            "set the entrypoint: gunicorn -k aiohttp.GunicornWebWorker main:app",
        )
    if _WSGI_APP.search(error):
        return Meaning(
            "WSGI app",
            "An ASGI server runs a WSGI app, which is what wrap_wsgi_app returns. "
            "Start it with gunicorn and its own worker: gunicorn main:app. For an "
            f"ASGI app, see {ASGI_APPS}.",
        )
    if any(sign in error for sign in (_NO_PROXY, _NO_TICKET, _AFTER_END)):
        return _call(traceback, folder)
    if "Descriptors cannot be created directly" in error:
        return Meaning(
            "protobuf 3",
            "One of the app's packages is made for protobuf 3. Add this line to "
            "requirements.txt, or use a newer release of that package: protobuf<3.21",
        )
    if "Failed to parse resource field: Failed to parse labels" in error:
        return Meaning(
            "google-cloud-logging",
            "This release of google-cloud-logging cannot write outside of Google "
            "Cloud. Use a newer one, or the module logging: App Engine keeps its lines "
            "too.",
        )
    if error.startswith("google.auth.exceptions."):
        if any(
            frame.is_in(_ID_TOKEN) and frame.function.startswith("verify_")
            for frame in traceback.frames
        ):
            return _token(error)
        return _credentials(traceback, folder)
    if text := releases.mismatch(traceback):
        return Meaning("releases", text)
    if any(frame.is_in(_DEFERRED) for frame in traceback.frames):
        return _deferred(traceback, folder)
    return None


def _credentials(traceback: Traceback, folder: Path) -> Meaning:
    own = traceback.own(folder)
    what = f"`{own[0].code}`" if own and own[0].code else "The app"
    return Meaning(
        "credentials",
        f"{what} needs credentials for Google Cloud, which App Engine gives the app, "
        "but the server does not: it does not emulate this API. To call the real "
        "service, run gcloud auth application-default login. If there is an emulator "
        "of the service, start it, and set its variable, such as PUBSUB_EMULATOR_HOST, "
        "for the server. To run the rest of the app without the service, create the "
        "client in the function that uses it.",
    )


def _token(error: str) -> Meaning | None:
    if not any(sign in error for sign in _NO_CERTIFICATE):
        return None  # the token is bad, which the app is right to refuse
    return Meaning(
        "token of this server",
        "If a task of Cloud Tasks brought this token, this server has signed it, and "
        "Google does not know its key. Pass the URL of this server's certificates to "
        "google.oauth2.id_token.verify_token as certs_url: the README of gae-devserver "
        "has an example, in 'Verify the token'.",
    )


def _asgi_app(name: str) -> str:
    if name == "ASGIHandler":
        return (
            "Django's get_asgi_application makes an ASGI app, and here a WSGI app is "
            "required: use get_wsgi_application."
        )
    return (
        f"{name} is an ASGI app, but wrap_wsgi_app and gunicorn's own worker call WSGI "
        f"apps. To use the bundled services, see {ASGI_APPS}. To run it without them, "
        "remove wrap_wsgi_app, add uvicorn-worker to requirements.txt, and set the "
        "entrypoint: gunicorn -k uvicorn_worker.UvicornWorker main:app"
    )


def _call(traceback: Traceback, folder: Path) -> Meaning:
    """Explain why the SDK refused a call of a service."""
    own = traceback.own(folder)
    what = f"It calls {_service(traceback, own and own[1])}"
    if own and own[0].code:
        what += f" in `{own[0].code}`"
    on_import = [
        frame
        for frame in traceback.frames
        if frame.function == "<module>" and frame.file.endswith(".py")
    ]
    if on_import:
        begin = on_import[-1]
        file = relative_to(folder, begin)
        from_line = ""
        if own and begin != own[0] and file:
            from_line = f" (by {file}, line {begin.line})"
        return Meaning(
            "call on import",
            f"{what} on import{from_line}, outside a request. Move the call into a "
            "view or a task.",
        )
    if any(frame.is_in(*_ASGI_SERVERS) for frame in traceback.frames):
        return Meaning(
            "call under an ASGI server",
            f"{what}, but no service of google.appengine works under an ASGI server: "
            f"see {ASGI_APPS}.",
        )
    if _AFTER_END in traceback.error or any(
        frame.is_in(*_THREADS) for frame in traceback.frames
    ):
        return Meaning(
            "call in a thread",
            f"{what} in a thread, outside a request or after its end. Let a task do "
            "it. Since Python 3.13, no thread may make calls.",
        )
    if _NO_PROXY in traceback.error:
        return Meaning(
            "app that is not wrapped",
            f"{what}, but the app is not wrapped. Write: app = wrap_wsgi_app(app), or "
            "for Flask: app.wsgi_app = wrap_wsgi_app(app.wsgi_app)",
        )
    return Meaning(
        "call without a request",
        f"{what} outside a request that wrap_wsgi_app handles. The entrypoint must "
        "start what wrap_wsgi_app returns. Threads and event loops that outlive a "
        "request cannot make calls: let a task do it.",
    )


def _service(traceback: Traceback, called: Frame | None) -> str:
    """Return the module of the SDK that the app calls, or the service."""
    if called and (found := _SERVICE.search(called.file)):
        return str(found[1])
    found = re.search(f'{_NO_PROXY} "(\\w+)"', traceback.error)
    return f"the service {found[1]}" if found else "google.appengine"


def _deferred(traceback: Traceback, folder: Path) -> Meaning | None:
    """Explain why `defer` cannot pickle a call, or its task cannot run it."""
    error = traceback.error
    if "on <module '__main__'" in error:
        return Meaning(
            "function of a program",
            "The function was deferred from a module that runs as a program, such as "
            "python main.py. Move it to a module that is imported.",
        )
    if traceback.frames[-1].function == "run" and any(x in error for x in _NOT_FOUND):
        return Meaning(
            "missing function",
            "The SDK drops the task, because this service does not have the deferred "
            "function. A task contains only its name: the module must have the same "
            "name in the service that defers the function and in the one that runs it.",
        )
    if 'environ.get("SERVER_SOFTWARE")' in traceback.frames[-1].code:
        return Meaning(
            "server without a name",
            "The SDK runs deferred functions only where SERVER_SOFTWARE is set in the "
            "WSGI environment. uWSGI does not set it, here or on App Engine: start the "
            "app with gunicorn, or call environ.setdefault('SERVER_SOFTWARE', 'uWSGI') "
            "around it.",
        )
    if not any(
        frame.is_in(_DEFERRED) and frame.function in ("serialize", "_curry_callable")
        for frame in traceback.frames
    ):
        return None  # an error of the function that the task calls
    own = traceback.own(folder)
    call = f" in `{own[0].code}`" if own and own[0].code else ""
    if "must be callable" in error:
        return Meaning(
            "call of no function",
            f"defer{call} gets no function. Pass the function itself, and then its "
            "arguments: defer(f, 1), not defer(f(1)).",
        )
    pickles = f"defer{call} pickles the function and its arguments for the task"
    if "<locals>" in error or "<lambda>" in error:
        return Meaning(
            "local function",
            f"{pickles}, which is impossible for a lambda, and for a function or class "
            "that is defined inside a function. Define it at the top level of a "
            "module, and pass what it needs as arguments.",
        )
    if any(sign in error for sign in _OTHER_NAME):
        return Meaning(
            "replaced function",
            f"{pickles} by name, and its module has no such name, or another object "
            "under it, such as the result of a decorator. Defer what the module has "
            "under that name.",
        )
    return Meaning(
        "unpicklable argument",
        f"{pickles}, and one of them cannot be pickled. Pass plain data, such as a "
        "key, an ID or a text, and let the function open or fetch the rest. Requests, "
        "open files, locks and clients of services cannot be passed.",
    )
