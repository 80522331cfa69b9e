"""Warnings about what app.yaml asks for without effect on this server."""

import difflib
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from google.appengine.api import appinfo
from ruamel.yaml.nodes import SequenceNode

from gae_devserver.config import requirements
from gae_devserver.config.includes import Merged
from gae_devserver.config.parsing import YamlFile
from gae_devserver.config.reserved import OTHER_SERVERS, is_reserved
from gae_devserver.config.runtimes import GUIDE
from gae_devserver.config.settings import LIST_AS_TEXT, refused_settings

SETTINGS = (
    "api_config",
    "automatic_scaling",
    "backends",
    "beta_settings",
    "build_env_variables",
    "endpoints_api_service",
    "error_handlers",
    "health_check",
    "liveness_check",
    "main",
    "network",
    "readiness_check",
    "resources",
    "runtime_config",
    "service_account",
    "standard_websocket",
    "vm",
    "vm_settings",
    "vpc_access_connector",
)
FILES = {"dos.yaml": "no address is blocked"}
_EMULATORS = {
    "CLOUD_TASKS_EMULATOR_HOST": "Cloud Tasks",
    "DATASTORE_EMULATOR_HOST": "the Datastore",
}
_INBOUND_SERVICES = frozenset({"mail", "mail_bounce", "warmup"})


def about(
    app: Merged, file: YamlFile, instance_classes: Collection[str]
) -> Iterator[str]:
    """Yield a warning for each setting and file that fails or has no effect."""
    yield from _about_settings(app.info, file, instance_classes)
    for handler, place in zip(app.info.handlers or (), app.places, strict=True):
        if handler.secure == appinfo.SECURE_HTTPS:
            yield (
                f"{place}: secure: always is not emulated: {handler.url} is served "
                "over HTTP."
            )
        if handler.script and handler.script != "auto":
            yield (
                f"{place}: 'script: {handler.script}' of the handler '{handler.url}' "
                "has no effect, because the entrypoint answers its requests. Delete "
                "the handler, or write 'script: auto'."
            )
    for place in app.builtins:
        yield (
            f"{place}: the setting 'builtins' has no effect on Python 3. Delete it. To "
            "replace the builtin deferred, call wrap_wsgi_app(app, use_deferred=True): "
            f"see {GUIDE}."
        )
    for empty in app.empty:
        yield f"{empty} is empty, so including it has no effect."
    yield from _about_files(file.path.parent)


def without_effect(info: Any) -> tuple[str, ...]:
    """Return the settings that have no effect, and need no sentence of their own."""
    return tuple(setting for setting in SETTINGS if getattr(info, setting, None))


def _about_settings(
    info: Any, file: YamlFile, instance_classes: Collection[str]
) -> Iterator[str]:
    where = file.where
    if info.runtime == "python3":
        yield (
            f"{where('runtime')}: App Engine has no runtime 'python3' without a minor "
            "version. Write for example 'runtime: python313'."
        )
    # not from `info`: the parser changes the entrypoint
    if re.match(r"exec\s", file.value("entrypoint") or ""):
        yield (
            f"{where('entrypoint')}: the entrypoint begins with exec. Delete that "
            "word: App Engine adds its own, and the app does not start with both."
        )
    if not info.app_engine_apis and _uses_sdk(file.path.parent):
        yield (
            f"{file.path} has no 'app_engine_apis: true', so every call of "
            "google.appengine fails. Add that line."
        )
    wanted = info.instance_class
    if wanted and wanted not in instance_classes:
        near = difflib.get_close_matches(wanted.upper(), instance_classes, n=1)
        yield (
            f"{where('instance_class')}: App Engine has no instance class '{wanted}'. "
            f"Write {near[0] if near else 'one of ' + ', '.join(instance_classes)}."
        )
    if info.threadsafe is not None:
        yield (
            f"{where('threadsafe')}: the setting 'threadsafe' has no effect, and "
            "gcloud app deploy refuses it. Delete it."
        )
    yield from refused_settings(info, file)
    for scaling, setting in (
        ("manual_scaling", "instances"),
        ("basic_scaling", "max_instances"),
    ):
        group = getattr(info, scaling)
        if group and (count := int(getattr(group, setting))) > 1:
            yield (
                f"{where(scaling, setting)}: this server runs one instance instead of "
                f"{count}."
            )
    for variable, value in (info.env_variables or {}).items():
        place = where("env_variables", variable)
        if isinstance(file.node("env_variables", variable), SequenceNode):
            yield (
                f"{place}: {variable} takes one value, not a list: App Engine sets it "
                f"to '{LIST_AS_TEXT}'. Put the value in quotes."
            )
        if is_reserved(variable):
            why = OTHER_SERVERS.get(variable, "the server reserves this name")
            yield f"{place}: {variable} is not set: {why}."
        if service := _EMULATORS.get(variable):
            yield (
                f"{place}: the app's clients of {service} connect to {value}, and not "
                "to this server."
            )
    for service in info.inbound_services or []:
        if service not in _INBOUND_SERVICES:
            place = where("inbound_services")
            yield f"{place}: inbound_services: {service} is not emulated."


def _about_files(folder: Path) -> Iterator[str]:
    """Yield a warning for each file beside the YAML file that has no effect."""
    # cp -r makes broken links; hidden ones are locks of editors
    for entry in sorted(folder.glob("[!.]*")):
        if _is_broken_link(entry):
            yield f"{entry} is a broken link. Copy the app again with cp -RL."
    for name, consequence in FILES.items():
        if (folder / name).exists():
            yield f"{name} is not emulated: {consequence}."


def _uses_sdk(folder: Path) -> bool:
    """Return whether the list of packages or a module names App Engine's SDK."""
    modules = (path for path in folder.glob("*.py") if path.is_file())
    texts = requirements.content(requirements.list_in(folder))
    texts += [path.read_text("utf-8", "replace") for path in modules]
    return any(re.search(r"google\.appengine|appengine-python", text) for text in texts)


def _is_broken_link(entry: Path) -> bool:
    try:
        entry.stat()
    except FileNotFoundError:
        return entry.is_symlink()
    except OSError:  # it exists, but this user has no access
        return False
    return False
