"""Applies edits of the app's files while the server runs."""

import asyncio
import logging
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Protocol

from gae_devserver import terminal
from gae_devserver.app.python import Python
from gae_devserver.config.app_yaml import AppConfig
from gae_devserver.config.application import Application, load
from gae_devserver.config.parsing import ConfigError
from gae_devserver.environments.environments import AppPackagesError, Environments

logger = logging.getLogger("gae_devserver")


class ServicePart(Protocol):
    """A part of the server that uses the settings of a service."""

    def apply(self, config: AppConfig) -> None:
        """Use these settings from now on."""
        ...


class SharedPart(Protocol):
    """A part of the server that uses what the services share."""

    def apply(self, application: Application) -> None:
        """Use these settings from now on."""
        ...


class Reloader:
    """Knows the app's present settings and Python, and follows the edits of both."""

    def __init__(
        self,
        application: Application,
        python: Python,
        environments: Environments,
        *,
        service_parts: Collection[ServicePart],
        shared_parts: Collection[SharedPart],
        restart: Callable[[], None],
    ) -> None:
        """Begin with these settings; `restart` restarts the app after an edit."""
        self._application = application
        self._python = python
        self._environments = environments
        self._service_parts = service_parts
        self._shared_parts = shared_parts
        self._restart = restart
        self._unread: set[Path] = set()
        """Edited settings files that could not be applied yet."""

    @property
    def config(self) -> AppConfig:
        """The settings of the service in effect."""
        return self._application.main

    @property
    def application(self) -> Application:
        """All settings in effect."""
        return self._application

    @property
    def python(self) -> Python:
        """The Python of the app's next process."""
        return self._python

    async def run(self) -> None:
        """Follow the edits until this is cancelled."""
        # imports a large package, which no other part needs
        from gae_devserver.app.changes import changes, watched_folders

        try:
            async for paths in changes(watched_folders(self.config.folder)):
                await self._apply_edits(paths)
        except (OSError, RuntimeError) as error:
            # for example, the app has more folders than the system can watch
            logger.warning(
                "the server cannot watch the app's files: %s. Restart the server after "
                "each edit",
                error,
            )

    async def _apply_edits(self, paths: set[Path]) -> None:
        """Apply changed settings, and restart the app if another file changed."""
        settings = self._settings_in(paths)
        restarting = paths - settings
        if settings:
            # with edits that came while one of the files had an error
            self._unread |= settings
            try:
                self._apply(self._load())
            except ConfigError as error:
                logger.error("the previous settings stay in effect: %s", error)
            else:
                restarting |= self._report_settings(self._unread)
                self._unread = set()
        if restarting:
            _log_restart(restarting)
            try:
                # in a thread: it may install packages, while the app still answers
                self._python = await asyncio.to_thread(
                    self._environments.python, self.config
                )
            except AppPackagesError as error:
                logger.error("the app keeps the packages that it has: %s", error)
            self._restart()

    @property
    def _other_files(self) -> set[Path]:
        """The settings that need no restart of the app."""
        paths = self._application.files.paths
        return {path.parent.resolve() / path.name for path in paths}

    def _settings_in(self, paths: set[Path]) -> set[Path]:
        """Return the files with settings among the files that changed."""
        read = {path.parent.resolve() / path.name for path in self.config.files}
        settings = paths & {*read, *self._other_files}
        if self._unread:
            # it may be an included file that was missing
            settings |= {path for path in paths if path.suffix in (".yaml", ".yml")}
        return settings

    def _load(self) -> Application:
        """Return the settings in the files.

        Raises:
            ConfigError: they cannot be used, or not before the server restarts.
        """
        now, application = self.config, load([self.config.path])
        config = application.main
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
        for part in self._shared_parts:
            part.apply(application)
        for service_part in self._service_parts:
            service_part.apply(application.main)

    def _report_settings(self, files: set[Path]) -> set[Path]:
        """Log what was read again; return the files that need a restart."""
        application = self._application
        terminal.log_warnings(application)
        names = {
            "queue.yaml": ("queues", [queue.name for queue in application.queues]),
            "cron.yaml": ("jobs", [job.url for job in application.cron_jobs]),
        }
        for file in sorted(self._other_files & files):
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
        return files - self._other_files


def _log_restart(files: set[Path]) -> None:
    # the temporary files of an editor no longer exist: do not log them
    shown = sorted(file for file in files if file.exists()) or sorted(files)
    more = f" and {len(shown) - 1} more" if len(shown) > 1 else ""
    logger.info("%s%s changed: restarting the app", shown[0].name, more)
