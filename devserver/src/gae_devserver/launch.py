"""Starts the first process of each service, before the rest of the server is loaded."""

import dataclasses
import logging
import socket
import time
from collections.abc import Callable

from gae_devserver.app.process import AppProcess, LaunchSettings
from gae_devserver.app.python import Python
from gae_devserver.app.snapshot import Snapshot
from gae_devserver.config.app_yaml import AppConfig
from gae_devserver.config.application import Application, with_shared_files
from gae_devserver.environments.environments import AppPackagesError, Environments
from gae_devserver.http import sockets

logger = logging.getLogger("gae_devserver")


@dataclasses.dataclass(frozen=True)
class Launched:
    """A service whose first process was just started."""

    config: AppConfig
    settings: LaunchSettings
    environments: Environments
    python: Python | AppPackagesError
    """What runs the service, or why nothing can."""
    process: AppProcess | None
    """None: there is no Python for it."""
    sockets: tuple[socket.socket, ...] = ()
    """Its own port; empty: it has only the public one."""
    label: str = ""
    """What stands before its log lines; empty if it is the only service."""


def launch(
    application: Application,
    settings: LaunchSettings,
    given: Python | None,
    *,
    near_port: int,
    host: str | None,
    on_start: Callable[[AppProcess], object],
    snapshot: Snapshot | None = None,
) -> list[Launched]:
    """Start the first process of each service; `on_start` gets it at once.

    Args:
        application: the services.
        settings: what all processes have in common.
        given: runs the app as it is; None: make environments.
        near_port: the public port; several services get the next free ones.
        host: where these listen besides loopback.
        on_start: called with each process.
        snapshot: gets the files of each service as they are before it starts.

    Raises:
        ConfigError: a file that the services share cannot be used.
        AppPackagesError: there is no environment for any service.
        OSError: a process cannot be started.
        PortError: there is no port for a service.
    """
    several = len(application.services) > 1
    if several or application.files.dispatch is not None:
        # before anything starts; one service starts sooner without these imports
        with_shared_files(application)
    # all services get one version, as with `gcloud app deploy` of all of them
    settings = dataclasses.replace(settings, version=time.strftime("%Y%m%dt%H%M%S"))
    launched = []
    environments = Environments(given)
    for config in application.services:
        own: tuple[socket.socket, ...] = ()
        if several:
            own = sockets.listen_near(near_port, host)
            near_port = own[0].getsockname()[1]
        one = _launch(application, config, settings, environments, own, snapshot)
        launched.append(one)
        if one.process is not None:
            on_start(one.process)
    if all(one.process is None for one in launched):
        *others, last = launched
        for one in others:
            logger.error("%s%s", one.label, one.python)
        assert isinstance(last.python, AppPackagesError)
        raise last.python
    return launched


def _launch(
    application: Application,
    config: AppConfig,
    settings: LaunchSettings,
    environments: Environments,
    own: tuple[socket.socket, ...],
    snapshot: Snapshot | None,
) -> Launched:
    if config.version is not None:
        settings = dataclasses.replace(settings, version=config.version)
    label = f"[{config.service}] " if own else ""
    failed = Launched(
        config, settings, environments, AppPackagesError(), None, own, label
    )
    try:
        # a mistake in a file such as queue.yaml would otherwise appear only after the
        # installation
        python = environments.python(config, lambda: with_shared_files(application))
    except AppPackagesError as error:
        return dataclasses.replace(failed, python=error)
    if snapshot is not None:
        snapshot.add_folder(config.folder)
    process = AppProcess(config, settings, python, label=label)
    if process.notice and process.is_gunicorn:  # others get it when the app is ready
        logger.warning("%s%s", label, process.notice)
    return dataclasses.replace(failed, python=python, process=process)
