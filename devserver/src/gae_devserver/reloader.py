"""Applies edits of the app's files while the server runs."""

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from gae_devserver import terminal
from gae_devserver.app.own_writes import OwnWrites
from gae_devserver.app.owners import Sources, by_owner
from gae_devserver.app.snapshot import Snapshot, watched_folders
from gae_devserver.config.app_yaml import AppConfig
from gae_devserver.config.application import AppFiles, Application, load
from gae_devserver.config.handlers import is_only_static
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

    @property
    def started(self) -> float:
        """When its process became ready; infinite if it still starts."""

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
        since: Snapshot | None = None,
    ) -> None:
        """Begin with these settings, which `targets` were read for.

        `since` has the files as they were when that, and the services, began.
        """
        self._application = application
        self._targets = tuple(targets)
        self._services = services
        self._parts = parts
        self._since = since
        self._own_writes = {
            name: OwnWrites(service.label) for name, service in services.items()
        }
        self._watched: dict[str, set[Path]] = {}
        """The folders of each service."""
        self._waiting: set[str] = set()
        """The services that changed after their last restart began."""
        self._restarts: dict[str, asyncio.Task[None]] = {}
        self._unread: set[Path] = set()
        """Edited settings files that could not be applied yet."""

    @property
    def application(self) -> Application:
        """The settings in effect."""
        return self._application

    async def run(self) -> None:
        """Follow the edits until this is cancelled."""
        # imports a large package, which no other part needs
        from gae_devserver.app.changes import changes

        try:
            self._watched = {
                name: watched_folders(service.config.folder)
                for name, service in self._services.items()
            }
            # those of the settings, which the user may have named elsewhere
            folders = {
                file.parent for file in self._shared_files if file.parent.is_dir()
            }
            watched = folders.union(*self._watched.values())
            async for paths in changes(watched, self._since):
                self._apply_edits(paths)
        except (OSError, RuntimeError) as error:
            # for example, the app has more folders than the system can watch
            logger.warning(
                "the server cannot watch the app's files: %s. Restart the server after "
                "each edit",
                error,
            )
        finally:
            for restart in self._restarts.values():
                restart.cancel()

    def _apply_edits(self, paths: set[Path]) -> None:
        """Apply changed settings, and restart the services whose files changed."""
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
        sources = {
            name: Sources(
                service.config.folder.resolve(),
                self._watched[name],
                _resolved(service.config.files),
            )
            for name, service in self._services.items()
        }
        edited = {
            name: edits
            for name, owned in by_owner(others, sources).items()
            if (edits := self._edits(name, owned))
        }
        affected: dict[frozenset[Path], list[Service]] = {}
        for name, service in self._services.items():
            if name in edited:
                affected.setdefault(frozenset(edited[name]), []).append(service)
        for files, services in affected.items():
            _log_restart(files, services)
        for name in edited:
            self._waiting.add(name)
            if name not in self._restarts or self._restarts[name].done():
                # a task: other services must not wait while this one installs packages
                restart = asyncio.create_task(self._restart(name))
                self._restarts[name] = restart

    def _edits(self, name: str, files: Collection[Path]) -> set[Path]:
        """Return the files for which a service must restart."""
        service = self._services[name]
        handlers, folder = service.config.static_handlers, service.config.folder
        static = {file for file in files if is_only_static(handlers, folder, file)}
        for file in static:
            logger.debug("%s%s is static: no restart", service.label, file.name)
        return self._own_writes[name].edits(set(files) - static, service.started)

    async def _restart(self, name: str) -> None:
        """Restart a service, and again if it is edited meanwhile."""
        service = self._services[name]
        while name in self._waiting:
            self._waiting.remove(name)
            try:
                await service.restart()
            except (AppPackagesError, OSError) as error:
                text = "%sthe app keeps the packages that it has: %s"
                logger.error(text, service.label, error)

    @property
    def _files(self) -> AppFiles:
        # the same in each run, as the command line names them
        return self._application.files

    @property
    def _shared_files(self) -> set[Path]:
        """The settings that need no restart of a service."""
        return _resolved(self._files.paths)

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
        began = {config.path: config for config in self._application.services}
        if changed := began.keys() ^ {config.path for config in application.services}:
            raise ConfigError(
                f"{min(changed)}: the runtime or the environment has changed. Restart "
                "the server."
            )
        for config in application.services:
            now = began[config.path]
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
        # the part that uses index.yaml logs what changed
        for file, what, listed in (
            (self._files.cron, "jobs", [job.url for job in application.cron_jobs]),
            (
                self._files.dispatch,
                "rules",
                [str(rule) for rule in application.dispatch],
            ),
            (
                self._files.queue,
                "queues",
                [queue.name for queue in application.queues],
            ),
        ):
            if file is None or not _resolved([file]) & files:
                continue
            event = "read again" if file.exists() else "removed"
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
