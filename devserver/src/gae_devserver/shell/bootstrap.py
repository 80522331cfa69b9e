"""Starts a shell or a script for which every call of the App Engine SDK works.

This file runs on the app's Python, 3.8 or later. It imports nothing else of the
package, and the server starts it with

    python bootstrap.py shell APP_FOLDER BANNER
    python bootstrap.py run APP_FOLDER SCRIPT [ARGUMENT ...]
    python bootstrap.py run APP_FOLDER -m MODULE [ARGUMENT ...]

The environment has the ticket of a request that is open as long as the program runs, in
the variable in which the SDK looks for it.
"""

from __future__ import annotations

import builtins
import contextvars
import importlib.util
import io
import os
import pickle
import runpy
import sys
import threading
import types
import warnings
from collections.abc import Callable
from typing import Any

_THIS_FILE = __file__  # Python 3.14 deletes that name before it calls the excepthook


def set_up_sdk() -> bool:
    """Make API calls work outside of a request; return whether there is an SDK."""
    try:
        if importlib.util.find_spec("google.appengine") is None:
            return False
    except ModuleNotFoundError:  # there is no "google" either
        return False
    with warnings.catch_warnings():
        # its regular expressions are written without r""
        warnings.simplefilter("ignore")
        from google.appengine.api import wrap_wsgi_app
        from google.appengine.ext.deferred import deferred
        from google.appengine.runtime import (
            context,
            default_api_stub,
            request_environment,
        )

    environ = os.environ
    # For its side effects: it connects the SDK to the API server, and replaces modules
    # such as threading, which must not happen later, while the program uses them.
    wrap_wsgi_app(None, use_legacy_context_mode=False)
    os.environ = environ  # noqa: B003 - the SDK's own is lost to child processes
    context.init_from_wsgi_environ(environ)
    # Without this, only a request and its threads may make calls.
    stub = default_api_stub.DefaultApiStub
    stub.ShouldUseRequestSecurityTicketForThread = staticmethod(lambda: True)
    if sys.version_info >= (3, 13):
        _give_threads_the_request(request_environment)
    deferred.serialize = _without_main(deferred.serialize)
    return True


def _give_threads_the_request(request_environment: Any) -> None:
    """Do what the SDK itself does up to Python 3.12.

    It replaces a function that threading no longer calls.
    """
    start = threading.Thread.start

    def start_in_request(thread: threading.Thread) -> None:
        inherit = request_environment.current_request.CloneRequestEnvironment()
        run, variables = thread.run, contextvars.copy_context()

        def run_in_request() -> None:
            inherit()
            variables.run(run)

        thread.run = run_in_request  # type: ignore[method-assign]
        start(thread)

    threading.Thread.start = start_in_request  # type: ignore[assignment, method-assign]


def _without_main(serialize: Callable[..., bytes]) -> Callable[..., bytes]:
    """Return deferred's `serialize` without functions that the app could not load."""

    class Pickler(pickle.Pickler):
        def reducer_override(self, obj: Any) -> Any:
            if getattr(obj, "__module__", None) == "__main__":
                name = getattr(obj, "__qualname__", type(obj).__qualname__)
                raise pickle.PicklingError(
                    f"{name} cannot be deferred: the app runs the task, and finds no "
                    f"{name} in its own __main__. Define it in a module of the app, "
                    "and import it from there"
                )
            return NotImplemented

    def checked(obj: Any, *args: Any, **kwargs: Any) -> bytes:
        try:
            Pickler(io.BytesIO(), pickle.HIGHEST_PROTOCOL).dump((obj, args, kwargs))
        except pickle.PicklingError:
            raise
        except Exception:  # noqa: BLE001 - the SDK raises it again, as in the app
            pass
        return serialize(obj, *args, **kwargs)

    return checked


def ready_names(has_sdk: bool) -> dict[str, Any]:
    """Return what a shell has without an import."""
    if has_sdk:
        from google.appengine.ext import deferred, ndb

        return {"ndb": ndb, "deferred": deferred}
    try:
        from google.cloud import ndb
    except ImportError:
        return {}
    return {"ndb": ndb, "client": ndb.Client()}


def shell(banner: str, names: dict[str, Any]) -> None:
    """Run IPython if the app's environment has it, otherwise Python's own shell."""
    print(f"Python {sys.version.split()[0]} for {banner}")
    for name, value in names.items():
        what = getattr(value, "__name__", "google.cloud.ndb.Client()")
        print(f"  {name:<10} {what}")
    variables = vars(_new_main())
    variables.update(names)
    sys.argv = [""]
    try:
        import IPython
    except ImportError:
        # Python continues with its own shell when this file is done.
        os.environ["PYTHONINSPECT"] = "1"
        hook = getattr(sys, "__interactivehook__", lambda: None)

        def before_shell() -> None:
            del os.environ["PYTHONINSPECT"]  # not for the programs that it starts
            hook()

        sys.__interactivehook__ = before_shell
    else:
        IPython.start_ipython(argv=[], user_ns=variables, display_banner=False)


def run_stdin(names: dict[str, Any]) -> None:
    """Run what stdin holds, as `python -` does."""
    main = _new_main()
    vars(main).update(names)
    sys.argv = ["-"]
    _execute(sys.stdin.buffer.read(), "<stdin>", main)


def run_script(path: str, arguments: tuple[str, ...]) -> None:
    """Run a script, as `python PATH` does."""
    with open(path, "rb") as file:  # noqa: PTH123 - pathlib takes time to import
        source = file.read()
    main = _new_main()
    main.__file__ = os.path.abspath(path)  # noqa: PTH100
    sys.argv = [path, *arguments]
    _execute(source, main.__file__, main)


def run_module(name: str, arguments: tuple[str, ...]) -> None:
    """Run a module, as `python -m NAME` does."""
    _new_main()
    sys.argv = ["-m", *arguments]  # runpy replaces the first
    # what Python itself calls; the public function leaves other tracebacks
    runpy._run_module_as_main(name)  # type: ignore[attr-defined]


def _new_main() -> types.ModuleType:
    """Return a new `__main__`, without the names of this file."""
    main = types.ModuleType("__main__")
    vars(main)["__builtins__"] = builtins
    sys.modules["__main__"] = main
    return main


def _execute(source: bytes, name: str, main: types.ModuleType) -> None:
    exec(compile(source, name, "exec", dont_inherit=True), vars(main))


def _print_error(
    kind: type[BaseException], error: BaseException, trace: types.TracebackType | None
) -> None:
    """Print a traceback without the frames of this file, which come first."""
    while trace is not None and trace.tb_frame.f_code.co_filename == _THIS_FILE:
        trace = trace.tb_next
    sys.__excepthook__(kind, error.with_traceback(trace), trace)


def main(command: str, app_folder: str, *rest: str) -> None:
    """Set up the SDK, then run what the server asks for."""
    here = os.path.dirname(__file__)  # noqa: PTH120
    sys.path[:] = [app_folder, *(path for path in sys.path if path != here)]
    names = {}
    try:
        has_sdk = set_up_sdk()
        if command == "shell":
            names = ready_names(has_sdk)
    except Exception as error:  # noqa: BLE001 - the program may not need it
        reason = f"{type(error).__name__}: {error}"
        print(f"warning: the SDK cannot be imported: {reason}", file=sys.stderr)
    if command == "shell" and sys.stdin.isatty():
        shell(rest[0], names)
        return
    sys.excepthook = _print_error
    if command == "shell":
        run_stdin(names)
    elif rest[0] == "-m":
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
        run_module(rest[1], rest[2:])
    else:
        folder = os.path.dirname(os.path.realpath(rest[0]))  # noqa: PTH120
        if folder != app_folder:
            sys.path.insert(0, folder)
        run_script(rest[0], rest[1:])


if __name__ == "__main__":
    main(*sys.argv[1:])
