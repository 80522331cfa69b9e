"""Changes the modules with which apps run, so that their requests are told."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Mapping
from typing import Any

from .requests import Wrapper


class Hooks:
    """What to do with modules that were just imported."""

    def __init__(
        self, wrapper: Wrapper, folder: str, environ: Mapping[str, str]
    ) -> None:
        """Wrap apps with `wrapper`; `folder` is the private one of this process."""
        self._wrapper = wrapper
        self._folder = folder
        self._environ = environ

    def wrap_apps_of_gunicorn(self, module: Any) -> None:
        """Wrap the app that gunicorn runs, in a way that adds no frame to tracebacks.

        Also move its control socket, which by default all gunicorns of a user share.
        """
        wrap = self._wrapper.gunicorn_app

        def get(application: Any) -> Any:
            app = vars(application).get("callable")
            if app is None:
                return None
            wrapped, of = vars(application).get("_gae_devserver", (None, None))
            if of is not app:
                wrapped = wrap(app, application)
                vars(application)["_gae_devserver"] = (wrapped, app)
            return wrapped

        def put(application: Any, app: Any) -> None:
            vars(application)["callable"] = app

        module.BaseApplication.callable = property(get, put)
        # since gunicorn 25
        control = getattr(sys.modules["gunicorn.config"], "ControlSocket", None)
        if control is not None:
            control.default = os.path.join(self._folder, "ctl.sock")  # noqa: PTH118

    def wrap_apps_of_uvicorn(self, module: Any) -> None:
        """Wrap the app that uvicorn runs without gunicorn."""
        own, wrap = module.Config.load, self._wrapper.asgi

        @functools.wraps(own)
        def load(config: Any) -> None:
            own(config)
            config.loaded_app = wrap(config.loaded_app)

        module.Config.load = load

    def wrap_apps_of_sdk(self, module: Any) -> None:
        """Wrap the apps for which the app calls wrap_wsgi_app, under any web server."""
        own, wrap = module.wrap_wsgi_app, self._wrapper.wsgi

        @functools.wraps(own)
        def wrap_wsgi_app(*args: Any, **options: Any) -> Any:
            return wrap(own(*args, **options))

        module.wrap_wsgi_app = wrap_wsgi_app

    def send_tickets(self, module: Any) -> None:
        """Have RPCs to the dev server name the request in which they are made."""
        from . import rpc_tickets

        rpc_tickets.add_tickets(module, self._environ)

    def send_tickets_over_http(self, module: Any) -> None:
        """Do so too for clients of Datastore that run without gRPC."""
        from . import rpc_tickets

        rpc_tickets.add_tickets_over_http(module, self._environ)

    def send_tickets_of_sdk(self, module: Any) -> None:
        """Do so too for those of the SDK, which makes them in threads of its own."""
        from . import rpc_tickets

        rpc_tickets.keep_request(module._THREAD_POOL)
