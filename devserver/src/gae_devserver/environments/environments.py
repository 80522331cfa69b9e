"""Chooses the Python and the environment that each service runs in."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gae_devserver.app.python import OWN, Python
from gae_devserver.config import requirements
from gae_devserver.config.app_yaml import AppConfig
from gae_devserver.environments import interpreters
from gae_devserver.environments.installer import InstallError, find_uv

if TYPE_CHECKING:
    from gae_devserver.environments.cache import Cache

logger = logging.getLogger("gae_devserver")


class AppPackagesError(Exception):
    """The app's packages cannot be installed; the message is for the user."""


class Environments:
    """Gives a service the environment that its requirements.txt and runtime ask for."""

    def __init__(
        self, given: Python | None = None, cache: "Cache | None" = None
    ) -> None:
        """Use `given` as it is; without it, make environments and keep them."""
        self._given = given
        if given is None and cache is None:
            # the app starts sooner without what this imports
            from gae_devserver.environments.cache import Cache

            cache = Cache(uv=find_uv())
        self._cache = cache
        self._found: dict[tuple[int, int], Python] = {}
        """Interpreters, because looking for one may take a tenth of a second."""
        self._warning = threading.Lock()
        self._runtimes: dict[Path, str] = {}
        """The last runtime of each service for which a Python was looked for."""
        self._listed: dict[Path, list[str]] = {}
        """The last contents of requirements.txt, if an environment was given."""

    @property
    def installs(self) -> bool:
        """Whether requirements.txt is installed; otherwise the user does that."""
        return self._given is None

    def python(
        self, config: AppConfig, before_install: Callable[[], object] = lambda: None
    ) -> Python:
        """Return the Python of a service; make its environment if that is missing.

        Call this again when a file has changed; it is quick if that was another file.
        Services may call it at the same time, from several threads. Only a missing
        environment calls `before_install`, whose errors are not caught.

        Raises:
            AppPackagesError: the environment cannot be made.
        """
        base = self._given or self._base(config)
        try:
            file = requirements.list_in(config.folder)
            listed = requirements.content(file)
        except OSError as error:
            raise AppPackagesError(
                f"the app's list of packages cannot be read: {error}"
            ) from error
        with self._warning:
            self._warn(config, base, file, listed)
        if self._given is not None or self._cache is None:
            return base
        gunicorn = config.entrypoint is None
        try:
            return self._cache.environment(
                base, file, gunicorn=gunicorn, before_install=before_install
            )
        except InstallError as error:
            other = config.python not in (None, base.version)
            raise AppPackagesError(
                f"{file} could not be installed for {base}: {error}. The reason is "
                "above. The list is the app's own; the server adds nothing to it"
                f"{' but gunicorn' if gunicorn else ''}."
                + (f" The app asks for {config.runtime}: install it." * other)
            ) from error
        except OSError as error:
            raise AppPackagesError(
                f"the app's environment cannot be stored: {error}. Make that folder "
                "writable, or set XDG_CACHE_HOME to another one."
            ) from error

    def _base(self, config: AppConfig) -> Python:
        version = config.python or OWN.version
        if version not in self._found:
            if (found := interpreters.find(version)) is None:
                return OWN  # it may be installed later
            self._found[version] = found
        return self._found[version]

    def _warn(
        self, config: AppConfig, python: Python, file: Path, listed: list[str]
    ) -> None:
        """Log what differs from App Engine, once."""
        wanted, last = config.python, self._runtimes.get(config.path)
        self._runtimes[config.path] = config.runtime
        if wanted not in (None, python.version) and config.runtime != last:
            version = "{}.{}".format(*wanted)
            reason = (
                f"as --python says. To change that, name a Python {version}"
                if self._given
                else f"the server's, because PATH, pyenv and uv have no Python "
                f"{version}. To install it: uv python install {version}, or: pyenv "
                f"install {version}"
            )
            logger.warning(
                "%s asks for %s, but the app runs on %s, %s",
                config.path.name,
                config.runtime,
                python,
                reason,
            )
        if self._given is not None:
            if self._listed.get(file, listed) != listed:
                logger.warning(
                    "%s changed, but the server installs nothing for --python. "
                    "Install it with: %s -m pip install %s",
                    file.name,
                    python.executable,
                    requirements.pip_arguments(file),
                )
            self._listed[file] = listed
