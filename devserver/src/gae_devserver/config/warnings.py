"""Warnings about what app.yaml asks for without effect on this server."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.appengine.api import appinfo

from gae_devserver.config.reserved import is_reserved

GUIDE = "docs/python2-to-python3.md in gae-devserver's repository"
"""Where to read about apps for Python 2."""
HERE = f"Python {sys.version_info[0]}.{sys.version_info[1]}"
"""The Python of the server and the app."""
SETTINGS = (
    "api_config",
    "automatic_scaling",
    "backends",
    "basic_scaling",
    "beta_settings",
    "build_env_variables",
    "endpoints_api_service",
    "error_handlers",
    "health_check",
    "includes",
    "liveness_check",
    "main",
    "manual_scaling",
    "network",
    "readiness_check",
    "resources",
    "runtime_config",
    "service_account",
    "standard_websocket",
    "vm_settings",
    "vpc_access_connector",
)
FILES = {
    "dispatch.yaml": "all requests go to this service",
    "cron.yaml": "cron jobs do not run",
    "dos.yaml": "no address is blocked",
}
_OPTIONS_OF_GCLOUD = {"application": "--project", "version": "--version"}


def about(info: Any, path: Path, text: str) -> Iterator[str]:
    """Yield a warning for each setting and file that fails or has no effect.

    `info` is the parsed app.yaml, at `path`. Its `text` is needed too: the parser
    changes the entrypoint.
    """
    if re.search(r"""^entrypoint:\s*["']?exec\s""", text, re.MULTILINE):
        yield (
            "the entrypoint begins with exec. Delete that word: App Engine adds its "
            "own, and the app does not start with both."
        )
    if not info.app_engine_apis and _uses_sdk(path.parent):
        yield (
            "app.yaml has no 'app_engine_apis: true', so every call of "
            "google.appengine fails. Add that line."
        )
    if info.threadsafe is not None:
        yield (
            "the setting 'threadsafe' has no effect, and gcloud app deploy refuses it. "
            "Delete it."
        )
    for name, option in _OPTIONS_OF_GCLOUD.items():
        if getattr(info, name):
            yield (
                f"gcloud app deploy refuses the setting '{name}'. Delete it, and pass "
                f"{option} to gcloud app deploy."
            )
    if asked := [name for name in SETTINGS if getattr(info, name, None)]:
        yield f"these settings of app.yaml have no effect here: {', '.join(asked)}."
    if info.builtins:
        yield (
            "the setting 'builtins' has no effect on Python 3. Delete it. To replace "
            "the builtin deferred, call wrap_wsgi_app(app, use_deferred=True): see "
            f"{GUIDE}."
        )
    for name in info.env_variables or {}:
        if name == "APPENGINE_USE_CLOUDTASK_PUSH_QUEUE":
            yield f"env_variables: {name} is not set: Cloud Tasks is not emulated."
        elif is_reserved(name):
            yield f"env_variables: {name} is not set: the server reserves this name."
    for handler in info.handlers or []:
        if handler.login in (appinfo.LOGIN_REQUIRED, appinfo.LOGIN_ADMIN):
            yield f"login: {handler.login} is not emulated: {handler.url} is public."
        if handler.secure == appinfo.SECURE_HTTPS:
            yield f"secure: always is not emulated: {handler.url} is served over HTTP."
        if handler.script and handler.script != "auto":
            yield (
                f"'script: {handler.script}' of the handler '{handler.url}' has no "
                "effect, because the entrypoint answers its requests. Delete the "
                "handler, or write 'script: auto'."
            )
    for service in info.inbound_services or []:
        if service != "warmup":
            yield f"inbound_services: {service} is not emulated."
    # cp -r makes broken links; hidden ones are locks of editors
    for entry in sorted(path.parent.glob("[!.]*")):
        if _is_broken_link(entry):
            yield f"{entry} is a broken link. Copy the app again with cp -RL."
    for name, consequence in FILES.items():
        if (path.parent / name).exists():
            yield f"{name} is not emulated: {consequence}."
    for other in sorted({*path.parent.glob("*.yaml"), *path.parent.glob("*/app.yaml")}):
        text = other.read_text("utf-8", "replace") if other.is_file() else ""
        if other != path and re.search(r"^runtime:", text, re.MULTILINE):
            where = other.relative_to(path.parent)
            yield f"{where} defines another service, which this server does not start."


def _uses_sdk(folder: Path) -> bool:
    """Return whether requirements.txt or a module names App Engine's SDK."""
    files = (folder / "requirements.txt", *folder.glob("*.py"))
    texts = (x.read_text("utf-8", "replace") for x in files if x.is_file())
    return any(re.search(r"google\.appengine|appengine-python", text) for text in texts)


def _is_broken_link(entry: Path) -> bool:
    try:
        entry.stat()
    except FileNotFoundError:
        return entry.is_symlink()
    except OSError:  # it exists, but this user has no access
        return False
    return False
