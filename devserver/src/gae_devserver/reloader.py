"""Applies edits of the app's files while the server runs."""

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from gae_devserver import terminal
from gae_devserver.config.app_yaml import AppConfig
from gae_devserver.config.application import Application, load
from gae_devserver.config.parsing import ConfigError
from gae_devserver.environments.environments import AppPackagesError

logger = logging.getLogger("gae_devserver")


class Part(Protocol):
    """A part of the server that uses the settings of the whole app."""

    def apply(self, application: Application) -> None:
        """Use these settings from now on."""


class Service(Protocol):
    """A service, which uses its own settings and restarts after an edit."""

    label: str
    """What stands before its log lines."""

    @property
    def config(self) -> AppConfig:
        """Its settings in effect."""

    def apply(self, config: AppConfig) -> None:
        """Use these settings from now on."""

    async def restart(self) -> None:
        """Start a new process; raise AppPackagesError if it keeps its packages."""


class Reloader:
    """Knows the app's present settings, and follows the edits of its files."""

    def __init__(
        self,
        application: Application,
        targets: Collection[Path],
        services: Mapping[str, Service],
        parts: Collection[Part],
    ) -> None:
        """Begin with these settings, which `targets` were read for."""
        self._application = application
        self._targets = tuple(targets)
        self._services = services
        self._parts = parts
        self._watched: dict[str, set[Path]] = {}
        """The folders of each service."""
        self._restarting: set[str] = set()
        self._edited: set[str] = set()
        """The services whose restart has not begun yet."""
        self._unread: set[Path] = set()
        """Edited settings files that could not be applied yet."""

    @property
    def application(self) -> Application:
        """The settings in effect."""
        return self._application

    async def run(self) -> None:
        """Follow the edits until this is cancelled."""
        # imports a large package, which no other part needs
        from gae_devserver.app.changes import changes, watched_folders

        try:
            self._watched = {
                name: watched_folders(service.config.folder)
                for name, service in self._services.items()
            }
            # those of the settings, which the user may have named elsewhere
            folders = {
                file.parent for file in self._shared_files if file.parent.is_dir()
            }
            async with asyncio.TaskGroup() as restarts:
                async for paths in changes(folders.union(*self._watched.values())):
                    edited = set(self._apply_edits(paths))
                    self._edited |= edited
                    for name in edited - self._restarting:
                        self._restarting.add(name)
                        restarts.create_task(self._restart(name))
        except* (OSError, RuntimeError) as error:
            # for example, the app has more folders than the system can watch
            logger.warning(
                "the server cannot watch the app's files: %s. Restart the server after "
                "each edit",
                error.exceptions[0],
            )

    def _apply_edits(self, paths: set[Path]) -> list[str]:
        """Apply changed settings; return the services whose files changed."""
        settings = self._settings_in(paths)
        others = paths - settings
        if settings:
            # with edits that came while one of the files had an error
            self._unread |= settings
            try:
                application = self._load()
            except ConfigError as error:
                logger.error("the previous settings stay in effect: %s", error)
            else:
                self._apply(application)
                self._report_settings(self._unread)
                others |= self._unread - self._shared_files
                self._unread = set()
        affected: dict[frozenset[Path], list[Service]] = {}
        for name, service in self._services.items():
            if files := self._files_of(name, others):
                affected.setdefault(files, []).append(service)
        for files, services in affected.items():
            _log_restart(files, services)
        return [
            one.config.service for services in affected.values() for one in services
        ]

    async def _restart(self, name: str) -> None:
        """Restart a service, and again if it was edited meanwhile.

        It may install packages for minutes, and the others do not wait for it.
        """
        service = self._services[name]
        while name in self._edited:
            self._edited.discard(name)
            try:
                await service.restart()
            except (AppPackagesError, OSError) as error:
                text = "%sthe app keeps the packages that it has: %s"
                logger.error(text, service.label, error)
        self._restarting.discard(name)

    def _files_of(self, name: str, paths: Iterable[Path]) -> frozenset[Path]:
        """Return the files that belong to a service.

        A service's own YAML file is its alone. Any other file belongs to the services
        in whose folder it is, but not to one that has another service's folder around
        the file.
        """
        return frozenset(path for path in paths if name in self._owners(path))

    def _owners(self, path: Path) -> Collection[str]:
        readers = {
            name
            for name, service in self._services.items()
            if path in _resolved(service.config.files)
        }
        if readers:
            return readers
        nearest = {
            name: max(around, key=lambda folder: len(folder.parts))
            for name, folders in self._watched.items()
            if (around := [folder for folder in folders if path.is_relative_to(folder)])
        }
        roots = [s.config.folder.resolve() for s in self._services.values()]
        inner = [root for root in roots if path.is_relative_to(root)]
        return {
            name
            for name, folder in nearest.items()
            if not any(root != folder and root.is_relative_to(folder) for root in inner)
        }

    @property
    def _shared_files(self) -> set[Path]:
        """The settings that need no restart of a service."""
        return _resolved(self._application.files.paths)

    def _settings_in(self, paths: set[Path]) -> set[Path]:
        """Return the files with settings among the files that changed."""
        read = {file for config in self._configs for file in _resolved(config.files)}
        settings = paths & (read | self._shared_files)
        if self._unread:
            # it may be an included file that was missing
            settings |= {path for path in paths if path.suffix in (".yaml", ".yml")}
        return settings

    @property
    def _configs(self) -> list[AppConfig]:
        return [service.config for service in self._services.values()]

    def _load(self) -> Application:
        """Return the settings in the files.

        Raises:
            ConfigError: they cannot be used, or not before the server restarts.
        """
        application = load(self._targets)
        paths = [
            {config.path for config in one.services}
            for one in (self._application, application)
        ]
        if changed := paths[0] ^ paths[1]:
            raise ConfigError(
                f"{min(changed)}: the runtime or the environment has changed. Restart "
                "the server."
            )
        for now, config in zip(
            self._application.services, application.services, strict=True
        ):
            for name in ("service", "version", "scaling"):
                # tasks, cron jobs and the app's clients have the one from the start
                before, after = getattr(now, name), getattr(config, name)
                if before != after:
                    raise ConfigError(
                        f"{config.path}: the {name} is now {after!r}, but this server "
                        f"began with {before!r}. Restart the server."
                    )
        return application

    def _apply(self, application: Application) -> None:
        self._application = application
        for part in self._parts:
            part.apply(application)
        for config in application.services:
            self._services[config.service].apply(config)

    def _report_settings(self, files: set[Path]) -> None:
        """Log what was read again."""
        application = self._application
        terminal.log_warnings(application)
        names = {
            "queue.yaml": ("queues", [queue.name for queue in application.queues]),
            "cron.yaml": ("jobs", [job.url for job in application.cron_jobs]),
            "dispatch.yaml": ("rules", [str(rule) for rule in application.dispatch]),
        }
        for file in sorted(self._shared_files & files):
            if file.name not in names:  # the part that uses it logs what changed
                continue
            event = "read again" if file.exists() else "removed"
            what, listed = names[file.name]
            logger.info(
                "%s was %s. The %s are now: %s",
                file.name,
                event,
                what,
                ", ".join(listed) or "none",
            )


def _resolved(files: Iterable[Path]) -> set[Path]:
    """Return files with the real names of their folders, as edits have them."""
    return {file.parent.resolve() / file.name for file in files}


def _log_restart(files: Collection[Path], services: Sequence[Service]) -> None:
    label, what = services[0].label, "the app"
    if len(services) > 1:
        label, what = "", ", ".join(service.config.service for service in services)
    # the temporary files of an editor no longer exist: do not log them
    shown = sorted(file for file in files if file.exists()) or sorted(files)
    more = f" and {len(shown) - 1} more" if len(shown) > 1 else ""
    logger.info("%s%s%s changed: restarting %s", label, shown[0].name, more, what)
