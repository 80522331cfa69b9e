"""Reads the YAML files of all services of an app, and the files that they share."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from gae_devserver.config import service_file
from gae_devserver.config.app_yaml import AppConfig, load_app_yaml
from gae_devserver.config.cron_yaml import CronJob, load_cron_yaml
from gae_devserver.config.dispatch_yaml import (
    Dispatch,
    DispatchRule,
    load_dispatch_yaml,
)
from gae_devserver.config.index_yaml import IndexYaml, load_index_yaml
from gae_devserver.config.queue_yaml import DEFAULT_QUEUE, QueueConfig, load_queue_yaml
from gae_devserver.config.targets import Versions

_SHARED = ("queue.yaml", "cron.yaml", "index.yaml", "dispatch.yaml")


@dataclasses.dataclass(frozen=True)
class AppFiles:
    """The files that all services share. Each of them may be missing."""

    queue: Path
    cron: Path
    index: Path
    dispatch: Path | None
    """None: not used, because there is one service, and the user did not name it."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of them."""
        found = (self.queue, self.cron, self.index, self.dispatch)
        return tuple(path for path in found if path is not None)


@dataclasses.dataclass(frozen=True)
class Application:
    """An app: the configuration of its services, and what they share."""

    services: tuple[AppConfig, ...]
    """The main service first, then the others as the user named them."""
    files: AppFiles
    queues: tuple[QueueConfig, ...] = (DEFAULT_QUEUE,)
    cron_jobs: tuple[CronJob, ...] = ()
    indexes: IndexYaml = dataclasses.field(default_factory=IndexYaml)
    dispatch: tuple[DispatchRule, ...] = ()
    warnings: tuple[str, ...] = ()
    """Those of each service, and a sentence for each mistake in the shared files."""

    @property
    def main(self) -> AppConfig:
        """The service `default`, or the first one that the user named."""
        return self.services[0]

    @property
    def versions(self) -> Versions:
        """The services with their versions, the main one first."""
        return {service.service: service.version for service in self.services}

    def service(self, name: str) -> AppConfig:
        """Return the configuration of a service of this app.

        Raises:
            KeyError: there is none with this name.
        """
        found = {service.service: service for service in self.services}
        return found[name]


def load(targets: Sequence[Path]) -> Application:
    """Read the YAML files of services, and those that they share.

    Raises:
        ConfigError: a file is missing, or this server cannot use it.
    """
    return with_shared_files(load_services(targets))


def load_services(targets: Sequence[Path]) -> Application:
    """Read the YAML files of the services alone, which is enough to start them.

    A target is a folder with app.yaml, the YAML file of a service, or one of the
    files that services share.

    Raises:
        ConfigError: a file is missing, or this server cannot use it.
    """
    named: dict[str, Path] = {}
    services: list[AppConfig] = []
    for target in targets:
        if target.name in _SHARED and target.is_file():
            named[target.name] = target
        else:
            services.append(load_app_yaml(target))
    if not services:
        raise service_file.not_a_service(targets[0])
    services.sort(key=lambda config: config.service != "default")
    folder = services[0].folder
    dispatch = named.get("dispatch.yaml")
    if dispatch is None and len(services) > 1:
        dispatch = folder / "dispatch.yaml"
    return Application(
        services=tuple(services),
        files=AppFiles(
            queue=named.get("queue.yaml", folder / "queue.yaml"),
            cron=named.get("cron.yaml", folder / "cron.yaml"),
            index=named.get("index.yaml", folder / "index.yaml"),
            dispatch=dispatch,
        ),
        warnings=tuple(text for config in services for text in config.warnings),
    )


def with_shared_files(application: Application) -> Application:
    """Return the app with queue.yaml, cron.yaml, index.yaml and dispatch.yaml.

    Raises:
        ConfigError: this server cannot use one of them.
    """
    files = application.files
    queues = load_queue_yaml(files.queue)
    cron = load_cron_yaml(files.cron, application.versions)
    dispatch = load_dispatch_yaml(files.dispatch) if files.dispatch else Dispatch()
    return dataclasses.replace(
        application,
        queues=queues.queues,
        cron_jobs=cron.jobs,
        indexes=load_index_yaml(files.index),
        dispatch=dispatch.rules,
        warnings=(
            *application.warnings,
            *queues.warnings,
            *cron.warnings,
            *dispatch.warnings,
        ),
    )
